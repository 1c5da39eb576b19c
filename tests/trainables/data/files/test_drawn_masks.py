from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as mask_tools

from trainables.data.files.drawn_masks import Outline, Shape, draw_mask, with_background
from trainables.data.files.outlines import outline_of

SQUARE = np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 5.0], [2.0, 5.0]])


def test_a_polygon_of_whole_pixels_covers_these_pixels() -> None:
    found = Outline((SQUARE,)).pixels((8, 9))
    expected = np.zeros((8, 9), bool)
    expected[1:5, 2:6] = True
    assert (found == expected).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("grid", [None, 1.0, 0.5, 0.25])
def test_pixels_are_those_of_pycocotools(grid: float | None) -> None:
    """Random polygons, also beyond the border and across themselves: equal in each of 300 images."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = (int(n) for n in rng.integers(2, 50, 2))
        polygons = []
        for _ in range(int(rng.integers(1, 4))):
            corners = rng.random((int(rng.integers(3, 9)), 2)) * [width + 6, height + 6] - 3
            polygons.append(corners if grid is None else np.round(corners / grid) * grid)
        flat = [polygon.ravel().tolist() for polygon in polygons]
        theirs = mask_tools.decode(mask_tools.merge(mask_tools.frPyObjects(flat, height, width)))
        assert (Outline(tuple(polygons)).pixels((height, width)) == theirs.astype(bool)).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_runs_are_those_of_pycocotools() -> None:
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    encoded = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    outline = outline_of({"size": encoded["size"], "counts": encoded["counts"].decode()})
    assert outline is not None
    assert (outline.pixels((7, 5)) == mask).all()
    with pytest.raises(ValueError, match=r"a mask of \(7, 5\) in an image of \(5, 7\)"):
        outline.pixels((5, 7))


@pytest.mark.parametrize(
    "segmentation",
    [
        None, [], [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6], [1, 2]], "x", [[1, 2, 3, 4, 5, "x"]],
        {"size": [2, 2], "counts": [1, 2]}, {"size": [0, 2], "counts": []}, {"counts": [4]}, {},
    ],
)  # fmt: skip
def test_what_is_no_outline_is_none(segmentation: object) -> None:
    assert outline_of(segmentation) is None


def test_later_objects_lie_over_earlier_ones_and_crowds_below_all() -> None:
    left, right = Outline((SQUARE,)), Outline((SQUARE + np.array([2, 0]),))
    mask = draw_mask([Shape(1, left), Shape(2, right)], (6, 10), 0)
    assert mask[1:5].tolist() == [[0, 0, 1, 1, 2, 2, 2, 2, 0, 0]] * 4
    assert mask[0].tolist() == [0] * 10
    mask = draw_mask([Shape(1, left), Shape(2, right, crowd=True)], (6, 10), 0)
    assert mask[1:5].tolist() == [[0, 0, 1, 1, 1, 1, 2, 2, 0, 0]] * 4


def test_a_polygon_far_outside_is_refused_and_not_walked_along() -> None:
    far = Outline((SQUARE * np.array([1e8, 1]),))
    with pytest.raises(ValueError, match="more than 100 times the image's side outside"):
        far.pixels((8, 9))


def test_outlines_of_one_box_differ() -> None:
    assert repr(Outline((SQUARE,))) == repr(Outline((SQUARE.copy(),)))
    assert repr(Outline((SQUARE,))) != repr(Outline((SQUARE[:3],)))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cat", "dog"), ("background", "cat", "dog")),
        (("cat", "Background"), ("Background", "cat")),
        (("background", "cat"), ("background", "cat")),
    ],
)
def test_the_background_is_the_first_class(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert with_background(names) == expected
