from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from trainables.metrics.coco import Array, Detections
from trainables.metrics.per_image import box_images
from trainables.metrics.threshold import OperatingPoint, best_f1


@dataclass(frozen=True)
class Truth:
    boxes: Array
    labels: Array
    areas: Array
    crowds: Array


def truth(*boxes: list[float], labels: list[int] | None = None, crowds: list[bool] | None = None) -> Truth:
    held = np.array(boxes, np.float64).reshape(-1, 4)
    return Truth(
        held,
        np.array(labels or [0] * len(held)),
        held[:, 2] * held[:, 3],
        np.array(crowds or [False] * len(held), bool),
    )


def found(*rows: tuple[list[float], float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float64),
        np.array([label for _, _, label in rows], np.int64),
    )


A, B, FAR = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0], [80.0, 80.0, 5.0, 5.0]


def test_the_threshold_keeps_what_is_right_and_leaves_out_what_is_wrong() -> None:
    point = best_f1([truth(A, B)], [found((A, 0.3, 0), (B, 0.25, 0), (FAR, 0.2, 0), (FAR, 0.1, 0))])
    assert point == OperatingPoint(pytest.approx(0.25), 1.0)  # type: ignore[arg-type]


def test_an_object_is_found_only_once_and_only_by_its_class() -> None:
    both = [truth(A, B, labels=[0, 1])]
    point = best_f1(both, [found((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0), (B, 0.6, 1))])
    assert point is not None
    assert point.threshold == pytest.approx(0.9)  # 2·1/(1+2) = 2/3, and 2·2/(4+2) = 2/3: the higher one
    assert point.f1 == pytest.approx(2 / 3)


def test_detections_of_one_score_are_not_separated() -> None:
    point = best_f1([truth(A)], [found((A, 0.5, 0), (FAR, 0.5, 0))])
    assert point == OperatingPoint(0.5, pytest.approx(2 / 3))  # type: ignore[arg-type]


def test_what_lies_in_a_crowd_does_not_count() -> None:
    crowd = truth(A, [50.0, 50.0, 40.0, 40.0], crowds=[False, True])
    point = best_f1([crowd], [found(([60.0, 60.0, 5.0, 5.0], 0.9, 0), (A, 0.4, 0))])
    assert point == OperatingPoint(pytest.approx(0.4), 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "detections", [found(), found((FAR, 0.9, 0)), found((A, 0.9, 1))], ids=["none", "wrong", "other class"]
)
def test_without_a_right_box_there_is_no_threshold(detections: Detections) -> None:
    assert best_f1([truth(A)], [detections]) is None
    assert best_f1([truth()], [detections]) is None


@pytest.mark.parametrize("seed", range(20))
def test_matches_are_those_of_cocos_evaluation(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(6):
        n, m = int(draw.integers(0, 6)), int(draw.integers(0, 12))
        boxes = np.column_stack([draw.uniform(0, 60, (n, 2)), draw.uniform(5, 30, (n, 2))])
        near = boxes[draw.integers(0, n, m)] if n else np.tile([0.0, 0.0, 9.0, 9.0], (m, 1))
        truths.append(Truth(boxes, draw.integers(0, 3, n), boxes[:, 2] * boxes[:, 3], draw.random(n) < 0.2))
        moved = np.abs(near + draw.normal(0, 3, (m, 4)))
        # No two equal scores: their order is COCO's own affair.
        detections.append(Detections(moved, draw.random(m), draw.integers(0, 3, m)))
    names = [str(i) for i in range(6)]
    coco = box_images(truths, detections, ("a", "b", "c"), names)
    counted = ~coco.ignored[:, 0]
    score, hit = coco.score[counted], coco.hit[counted, 0]
    expected = [(2 * hit[score >= at].sum() / ((score >= at).sum() + coco.objects.sum()), at) for at in score]
    point = best_f1(truths, detections)
    if not hit.any():
        assert point is None
        return
    assert point is not None
    f1, at = max(expected)
    assert point.f1 == pytest.approx(f1)
    assert point.threshold == pytest.approx(at, abs=2e-6)
    assert point.threshold <= at
