from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from trainables.data.files.object_masks import encode
from trainables.metrics.coco import Backend, Detections, coco_metrics
from trainables.metrics.details import Thresholds, box_confusion
from trainables.metrics.overlap import overlaps_of
from trainables.metrics.per_image import box_images
from trainables.metrics.results import BoxResults
from trainables.metrics.threshold import best_f1
from trainables.specs.tasks import COCO_METRICS, MAP_WORST

Array = np.ndarray[Any, np.dtype[Any]]
CLASSES = ("cell", "nucleus", "debris")
SIZE = (120, 150)


@dataclass(frozen=True)
class Truth:
    boxes: Array
    labels: Array
    areas: Array
    crowds: Array
    masks: tuple[bytes, ...] | None
    height: int = SIZE[0]
    width: int = SIZE[1]


def disc(rng: np.random.Generator, *, centre: Array | None = None, radius: float | None = None) -> Array:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    y, x = rng.uniform((10, 10), (SIZE[0] - 10, SIZE[1] - 10)) if centre is None else centre
    r = rng.choice([4.0, 14.0, 28.0, 60.0]) if radius is None else radius
    return np.asarray((rows - y) ** 2 + ((columns - x) * rng.uniform(0.7, 1.4)) ** 2 < r**2)


def box_of(mask: Array) -> list[float]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def scene(rng: np.random.Generator) -> tuple[Truth, Detections]:
    count = int(rng.integers(0, 7))
    truths = [disc(rng) for _ in range(count)]
    labels = rng.integers(0, len(CLASSES), count)
    # Annotated areas may differ from those of masks: they decide on sizes.
    areas = np.array([float(mask.sum()) * rng.uniform(0.8, 1.2) for mask in truths])
    truth = Truth(
        np.array([box_of(mask) for mask in truths], float).reshape(-1, 4),
        labels,
        areas,
        rng.random(count) < 0.2,
        tuple(encode(mask) for mask in truths),
    )
    found, called = [], []
    for mask, label in zip(truths, labels.tolist(), strict=True):
        for _ in range(int(rng.integers(0, 4))):
            shift = rng.integers(-2, 3, 2)
            found.append(np.roll(mask, shift, axis=(0, 1)) ^ (rng.random(SIZE) < 0.001))
            called.append(label if rng.random() < 0.85 else int(rng.integers(0, len(CLASSES))))
    for _ in range(int(rng.integers(0, 6))):
        found.append(disc(rng))
        called.append(int(rng.integers(0, len(CLASSES))))
    if rng.random() < 0.3:
        found.append(np.zeros(SIZE, bool))
        called.append(0)
    scores = np.round(rng.random(len(found)), 2)  # some of them equal
    order = np.argsort(-scores, kind="stable")
    boxes = np.zeros((len(found), 4))
    masks = tuple(encode(found[i]) for i in order)
    return truth, Detections(boxes, scores[order], np.array(called, int)[order], masks, SIZE)


@pytest.fixture(scope="module", params=range(3))
def scenes(request: pytest.FixtureRequest) -> tuple[list[Truth], list[Detections]]:
    rng = np.random.default_rng(request.param)
    truths, found = zip(*(scene(rng) for _ in range(25)), strict=True)
    return list(truths), list(found)


def test_equal_to_pycocotools(scenes: tuple[list[Truth], list[Detections]]) -> None:
    ours = coco_metrics(*scenes, CLASSES)
    reference = coco_metrics(*scenes, CLASSES, backend=Backend.PYCOCOTOOLS)
    assert set(COCO_METRICS) <= set(ours)
    assert ours == pytest.approx(reference, abs=1e-12)
    assert 0.1 < ours["map"] < 0.9


def test_masks_are_compared_not_boxes(scenes: tuple[list[Truth], list[Detections]]) -> None:
    truths, found = scenes
    moved = [Truth(t.boxes + 1000, t.labels, t.areas, t.crowds, t.masks) for t in truths]
    assert coco_metrics(moved, found, CLASSES) == coco_metrics(truths, found, CLASSES)


def test_a_right_mask_counts_and_one_in_the_same_box_does_not() -> None:
    whole = np.zeros(SIZE, bool)
    whole[10:50, 20:90] = True
    frame = whole.copy()
    frame[12:48, 22:88] = False  # the same box
    truth = Truth(np.array([box_of(frame)], float), np.array([1]), np.array([float(frame.sum())]),
                  np.zeros(1, bool), (encode(frame),))  # fmt: skip

    def scored(mask: Array) -> float:
        found = Detections(truth.boxes, np.ones(1), np.array([1]), (encode(mask),), SIZE)
        return coco_metrics([truth], [found], CLASSES)["map"]

    assert (scored(frame), scored(whole)) == pytest.approx((1.0, 0.0))


def test_results_by_image_give_the_same_metrics(scenes: tuple[list[Truth], list[Detections]]) -> None:
    truths, found = scenes
    names = [f"{i}.png" for i in range(len(truths))]
    stored = box_images(truths, found, CLASSES, names)
    reported = coco_metrics(truths, found, CLASSES)
    for name in ("map", "map_50", "map_75", MAP_WORST, "map/cell"):
        assert stored.metric(name) == pytest.approx(reported[name], abs=1e-12)
    results = BoxResults(truths, found, CLASSES, tuple(names))
    assert np.mean([np.mean(v) for v in results.details(None).precision.values()]) == pytest.approx(
        reported["map_50"], abs=1e-12
    )
    assert results.thresholds().whole == best_f1(truths, found)


def test_overlaps_of_masks() -> None:
    one, other = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    one[0:10, 0:10] = True
    other[0:10, 5:15] = True
    codes = (encode(one), encode(other))
    truth = Truth(np.zeros((2, 4)), np.zeros(2, int), np.ones(2), np.array([False, True]), codes)
    found = Detections(np.zeros((2, 4)), np.ones(2), np.zeros(2, int), codes, SIZE)
    # Of a crowd, the share of the detection that lies inside.
    assert overlaps_of(found, truth, truth.crowds) == pytest.approx(np.array([[1, 0.5], [1 / 3, 1]]))
    assert overlaps_of(found, truth, np.zeros(1, bool), some=np.array([1]), only=~truth.crowds).shape == (
        1,
        1,
    )
    confusion = box_confusion([truth], [found], ("a",), Thresholds())
    assert confusion.tolist() == [[1, 0], [0, 0]]
