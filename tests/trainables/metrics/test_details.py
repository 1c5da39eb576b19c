from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.metrics.test_threshold import FAR, A, B, Truth, found, truth
from trainables.errors import DataError
from trainables.metrics.coco import Detections, coco_metrics
from trainables.metrics.details import (
    UNCHOSEN,
    Details,
    Thresholds,
    box_confusion,
    precision_at_recalls,
    read_details,
    write_details,
)
from trainables.metrics.per_image import box_images
from trainables.metrics.results import BoxResults
from trainables.metrics.threshold import OperatingPoint, best_f1, best_f1_by_class

CLASSES = ("cat", "dog")
LOW = Thresholds(OperatingPoint(0.1, 0.5))


def confusion(
    truths: list[Truth], detections: list[Detections], thresholds: Thresholds = LOW
) -> list[list[int]]:
    found_: list[list[int]] = box_confusion(truths, detections, CLASSES, thresholds).tolist()
    return found_


def random_results(seed: int, images: int = 12) -> tuple[list[Truth], list[Detections]]:
    """Objects on a grid, each found or not, with a wrong class or a shift now and then."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        count = int(rng.integers(0, 5))
        places = [[30.0 * i, 0.0, 20.0, 20.0] for i in range(count)]
        labels = rng.integers(0, 2, count).tolist()
        truths.append(truth(*places, labels=labels, crowds=(rng.random(count) < 0.1).tolist()))
        rows = [
            ([x + float(rng.integers(-8, 9)), y, w, h], float(rng.random()), int(rng.integers(0, 2)))
            for x, y, w, h in [*places, *places[:2], FAR]
        ]
        detections.append(found(*rows))
    return truths, detections


def test_rows_are_the_truth_and_the_last_is_no_object() -> None:
    truths = [truth(A, B, labels=[0, 1]), truth(A, labels=[1])]
    detections = [found((A, 0.9, 0), (B, 0.8, 0), (FAR, 0.7, 1)), found()]
    assert confusion(truths, detections) == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_the_best_score_takes_the_object_and_the_other_box_is_one_too_many() -> None:
    assert confusion([truth(A)], [found((A, 0.6, 1), (A, 0.9, 0))]) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_boxes_below_the_threshold_of_their_class_do_not_exist() -> None:
    chosen = Thresholds(OperatingPoint(0.5, 1.0), {"dog": OperatingPoint(0.8, 1.0)})
    detections = [found((A, 0.6, 0), (B, 0.6, 1))]
    assert confusion([truth(A, B, labels=[0, 1])], detections, chosen) == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert chosen.of("cat") == 0.5
    assert Thresholds().of("cat") == UNCHOSEN


def test_crowds_are_no_objects_and_boxes_in_them_no_errors() -> None:
    crowd = [truth(A, crowds=[True])]
    assert confusion(crowd, [found((A, 0.9, 0))]) == [[0, 0, 0]] * 3
    both = [truth(A, B, crowds=[True, False])]
    assert confusion(both, [found((B, 0.9, 0), (FAR, 0.8, 0))]) == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_nothing_at_all() -> None:
    assert confusion([truth()], [found()]) == [[0, 0, 0]] * 3
    assert confusion([], []) == [[0, 0, 0]] * 3


@pytest.mark.parametrize("seed", range(6))
def test_every_object_and_every_box_is_counted_once(seed: int) -> None:
    truths, detections = random_results(seed)
    count = box_confusion(truths, detections, CLASSES, LOW)
    objects = sum(int((~t.crowds).sum()) for t in truths)
    assert count[:-1].sum() == objects
    boxes = sum(int((d.scores >= 0.1).sum()) for d in detections)
    in_crowds = boxes - count[:, :-1].sum()
    assert 0 <= in_crowds <= boxes
    assert count[-1, -1] == 0


@pytest.mark.parametrize("seed", range(6))
def test_the_mean_of_the_precisions_is_map_50(seed: int) -> None:
    truths, detections = random_results(seed)
    precision = precision_at_recalls(box_images(truths, detections, CLASSES, [str(i) for i in range(12)]))
    reported = coco_metrics(truths, detections, CLASSES, by_class=True)
    for name, values in precision.items():
        assert np.mean(values) == pytest.approx(reported[f"map_50/{name}"], abs=1e-9)
        assert all(a >= b for a, b in itertools.pairwise(values))
    assert np.mean(list(precision.values())) == pytest.approx(reported["map_50"], abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_of_a_class_is_that_of_its_boxes_alone(seed: int) -> None:
    truths, detections = random_results(seed)
    by_class = best_f1_by_class(truths, detections, CLASSES)
    for label, name in enumerate(CLASSES):
        own = [
            Truth(
                *(getattr(t, column)[t.labels == label] for column in ("boxes", "labels", "areas", "crowds"))
            )
            for t in truths
        ]
        called = [
            Detections(d.boxes[m], d.scores[m], d.labels[m]) for d in detections for m in [d.labels == label]
        ]
        assert by_class.get(name) == best_f1(own, called)


def test_a_class_without_a_right_box_has_no_threshold() -> None:
    by_class = best_f1_by_class([truth(A, B, labels=[0, 1])], [found((A, 0.9, 0), (FAR, 0.8, 1))], CLASSES)
    assert by_class == {"cat": OperatingPoint(0.9, 1.0)}
    assert best_f1_by_class([], [], CLASSES) == {}


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    truths, detections = random_results(3)
    results = BoxResults(truths, detections, CLASSES, tuple(str(i) for i in range(12)))
    details = results.details(results.thresholds())
    write_details(details, tmp_path / "a" / "details.json")
    again = read_details(tmp_path / "a" / "details.json")
    assert again is not None
    assert again.record() == details.record()
    assert again.rows == ("cat", "dog", "background")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["details.json"]
    masks = Details(("a", "b"), np.array([[3, 1], [0, 2]]))
    write_details(masks, tmp_path / "masks.json")
    again = read_details(tmp_path / "masks.json")
    assert again is not None
    assert not again.of_boxes
    assert again.confusion.tolist() == [[3, 1], [0, 2]]
    assert read_details(tmp_path / "absent.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": ["a"]}', '{"rows": ["a"], "confusion": [[1, 2]]}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "details.json").write_text(text)
    with pytest.raises(DataError, match="cannot be read as details of results"):
        read_details(tmp_path / "details.json")
