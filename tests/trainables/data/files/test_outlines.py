from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_tools

from trainables.data.files.outlines import is_box, outline_box


@pytest.mark.parametrize(
    "polygons",
    [
        [[2, 3, 12, 3, 12, 9, 2, 9]],
        [[2, 3, 5, 3, 5, 6], [8, 5, 12, 9, 2, 9]],
        [2, 3, 12, 3, 12, 9, 2, 9],
        [["2", "3", "12", "3", "12", "9"]],
        [[[2, 3], [12, 3], [12, 9]]],
    ],
)
def test_the_box_around_polygons(polygons: Any) -> None:
    assert outline_box(polygons) == [2, 3, 10, 6]


@pytest.mark.parametrize(
    "wrong",
    [None, [], [[]], {}, "1 2 3", 7, [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, None, 4, 5, 6]],
     [{"x": 1}], {"size": [4], "counts": [1]}, {"size": [4, 4], "counts": [3, 4]},
     {"size": [4, 4], "counts": "\x00"}, {"size": [4, 4]}, {"size": [4, 4], "counts": [16]},
     {"size": ["a", 4], "counts": [16]}],
)  # fmt: skip
def test_what_has_no_outline(wrong: Any) -> None:
    assert all(math.isnan(v) for v in outline_box(wrong))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("compressed", [False, True])
def test_the_box_around_runs_is_that_of_the_reference(seed: int, compressed: bool) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(2, 40, 2))
    mask = np.zeros((height, width), np.uint8)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    mask[y : y + int(rng.integers(1, height + 1)), x : x + int(rng.integers(1, width + 1))] = 1
    if seed % 3 == 0:
        mask &= rng.integers(0, 2, mask.shape, np.uint8)
    encoded = mask_tools.encode(np.asfortranarray(mask))
    if not mask.any():
        pytest.skip("an empty mask has no box")
    columns = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(columns)) + 1
    runs = np.diff([0, *changes, len(columns)]).tolist()
    counts: Any = encoded["counts"].decode() if compressed else ([0] if columns[0] else []) + runs
    wanted = mask_tools.toBbox(encoded).tolist()
    assert outline_box({"size": [height, width], "counts": counts}) == wanted


def test_is_box() -> None:
    assert is_box([0, 0, 1, 1])
    assert not is_box([0, 0, 0, 1])
    assert not is_box([math.nan] * 4)
