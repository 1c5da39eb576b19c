from __future__ import annotations

import math

import pytest

from trainables.data.check import valid_boxes
from trainables.data.faults import Action
from trainables.data.sample import Annotations


@pytest.mark.parametrize(
    ("box", "label", "action", "words"),
    [
        ([10, 10, 0, 5], 0, Action.BOX_DROPPED, "no extent"),
        ([10, 10, 5, -5], 0, Action.BOX_DROPPED, "no extent"),
        ([100, 10, 5, 5], 0, Action.BOX_DROPPED, "outside the image of 60×40"),
        ([-9, -9, 5, 5], 0, Action.BOX_DROPPED, "outside"),
        ([math.nan] * 4, 0, Action.BOX_DROPPED, "not four numbers"),
        ([math.inf, 0, 1, 1], 0, Action.BOX_DROPPED, "not four numbers"),
        ([10, 10, 5, 5], -1, Action.BOX_DROPPED, "category"),
        ([10, 10, 5, 5], 2, Action.BOX_DROPPED, "category"),
        ([50, 30, 20, 20], 0, Action.BOX_CUT, "passes the border"),
    ],
)
def test_bad_boxes(box: list[float], label: int, action: Action, words: str) -> None:
    found = Annotations.of([[1, 2, 3, 4], box], [1, label], [12.0, math.nan], [False, True])
    kept, faults = valid_boxes(found, height=40, width=60, classes=("a", "b"))
    assert [a for a, _ in faults] == [action]
    assert words in faults[0][1]
    assert kept.boxes[0].tolist() == [1, 2, 3, 4]
    if action is Action.BOX_CUT:
        assert kept.boxes[1].tolist() == [50, 30, 10, 10]
        assert kept.crowds.tolist() == [False, True]
    else:
        assert len(kept.boxes) == len(kept.labels) == len(kept.areas) == len(kept.crowds) == 1


def test_rounding_at_the_border_is_no_fault() -> None:
    found = Annotations.of([[-0.5, 0, 61, 40.9]], [0], [1.0], [False])
    kept, faults = valid_boxes(found, height=40, width=60, classes=("a",))
    assert not faults
    assert kept.boxes.tolist() == found.boxes.tolist()


def test_an_absent_area_is_the_box_s() -> None:
    assert Annotations.of(
        [[0, 0, 3, 4], [0, 0, 3, 4]], [0, 0], [math.nan, 5.0], [False] * 2
    ).with_areas().areas.tolist() == [12, 5]
