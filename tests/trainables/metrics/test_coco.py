"""The COCO metrics against pycocotools, on its own published case and on random scenes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.metrics.coco import Backend, Detections, coco_metrics, top_detections
from trainables.specs.tasks import COCO_METRICS

REFERENCE = Path(__file__).resolve().parents[3] / "../shared/reference/coco_eval"


@dataclass(frozen=True)
class Annotated:
    boxes: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    areas: np.ndarray[Any, Any]
    crowds: np.ndarray[Any, Any]


def _annotated(
    boxes: list[list[float]], labels: list[int], areas: list[float], crowds: list[int]
) -> Annotated:
    return Annotated(
        np.asarray(boxes, np.float64).reshape(-1, 4),
        np.asarray(labels, np.int64),
        np.asarray(areas, np.float64),
        np.asarray(crowds, bool),
    )


def _detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(
        np.asarray(boxes, np.float64).reshape(-1, 4),
        np.asarray(scores, np.float64),
        np.asarray(labels, np.int64),
    )


def _reference() -> tuple[list[Annotated], list[Detections], list[str]]:
    truth = json.loads((REFERENCE / "instances_val2014_100.json").read_text())
    results = json.loads((REFERENCE / "instances_val2014_fakebbox100_results.json").read_text())
    categories = sorted(truth["categories"], key=lambda c: c["id"])
    number = {c["id"]: i for i, c in enumerate(categories)}
    truths, detections = [], []
    for image in sorted(truth["images"], key=lambda i: i["id"]):  # the order of equal scores
        of = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        truths.append(
            _annotated(
                [a["bbox"] for a in of],
                [number[a["category_id"]] for a in of],
                [a["area"] for a in of],
                [a["iscrowd"] for a in of],
            )
        )
        found = [d for d in results if d["image_id"] == image["id"]]
        detections.append(
            _detections(
                [d["bbox"] for d in found],
                [d["score"] for d in found],
                [number[d["category_id"]] for d in found],
            )
        )
    return truths, detections, [c["name"] for c in categories]


@pytest.mark.skipif(not REFERENCE.exists(), reason="the shared reference results are not here")
@pytest.mark.parametrize("backend", list(Backend))
def test_the_published_case_to_1e_9(backend: Backend) -> None:
    truths, detections, classes = _reference()
    assert any(t.crowds.any() for t in truths)
    metrics = coco_metrics(truths, detections, classes, backend=backend)
    expected = json.loads((REFERENCE / "expected.json").read_text())["bbox"]
    for name, value in zip(COCO_METRICS, expected, strict=True):
        assert metrics[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.skipif(not REFERENCE.exists(), reason="the shared reference results are not here")
def test_crowds_and_annotated_areas_count() -> None:
    truths, detections, classes = _reference()
    right = coco_metrics(truths, detections, classes)
    no_crowds = [Annotated(t.boxes, t.labels, t.areas, np.zeros_like(t.crowds)) for t in truths]
    box_areas = [Annotated(t.boxes, t.labels, t.boxes[:, 2] * t.boxes[:, 3], t.crowds) for t in truths]
    assert coco_metrics(no_crowds, detections, classes)["map"] != right["map"]
    by_box = coco_metrics(box_areas, detections, classes)
    assert by_box["map"] == right["map"]
    assert by_box["map_small"] != right["map_small"]


def _scene(rng: np.random.Generator) -> tuple[Annotated, Detections]:
    count = int(rng.integers(0, 6))
    boxes = np.column_stack([rng.uniform(0, 200, (count, 2)), rng.uniform(5, 150, (count, 2))])
    labels = rng.integers(0, 3, count)
    areas = boxes[:, 2] * boxes[:, 3] * rng.uniform(0.3, 1, count)
    noisy = np.repeat(boxes, 2, axis=0) + rng.normal(0, 4, (2 * count, 4))
    noisy[:, 2:] = np.maximum(noisy[:, 2:], 1)
    scores = np.round(rng.uniform(0, 1, 2 * count), 2)
    found = np.where(rng.random(2 * count) < 0.8, np.repeat(labels, 2), rng.integers(0, 3, 2 * count))
    crowds = rng.random(count) < 0.2
    return Annotated(boxes, labels, areas, crowds), Detections(noisy, scores, found)


@pytest.mark.parametrize("seed", range(5))
def test_both_backends_agree_on_random_scenes_by_class_too(seed: int) -> None:
    scenes = [_scene(np.random.default_rng([seed, i])) for i in range(30)]
    truths, detections = [s[0] for s in scenes], [s[1] for s in scenes]
    ours, oracle = (coco_metrics(truths, detections, ["a", "b", "c"], backend=b) for b in Backend)
    assert ours == pytest.approx(oracle, abs=1e-12)
    assert {"map/a", "map/b", "map/c"} <= ours.keys()
    assert ours["map"] == pytest.approx(np.mean([ours["map/a"], ours["map/b"], ours["map/c"]]))


@pytest.mark.parametrize("backend", list(Backend))
def test_undefined_metrics_are_left_out_and_map_is_zero(backend: Backend) -> None:
    nothing = _annotated([], [], [], [])
    found = _detections([[0, 0, 5, 5]], [0.9], [0])
    assert coco_metrics([nothing], [found], ["a"], backend=backend) == {"map": 0.0}
    one = _annotated([[0, 0, 10, 10]], [1], [100.0], [0])
    metrics = coco_metrics([one, nothing], [found, found], ["a", "b"], backend=backend)
    assert "map/a" not in metrics
    assert "map_large" not in metrics
    assert metrics["map/b"] == 0.0


@pytest.mark.parametrize("backend", list(Backend))
def test_no_detections_score_zero(backend: Backend) -> None:
    one = _annotated([[0, 0, 10, 10]], [0], [100.0], [0])
    metrics = coco_metrics([one], [_detections([], [], [])], ["a"], backend=backend)
    assert metrics["map"] == metrics["mar_100"] == metrics["map/a"] == 0.0


@pytest.mark.parametrize("backend", list(Backend))
def test_perfect_detections_score_one(backend: Backend, capfd: pytest.CaptureFixture[str]) -> None:
    one = _annotated([[3, 4, 50, 40], [60, 60, 20, 20]], [0, 1], [2000.0, 400.0], [0, 0])
    found = _detections([[3, 4, 50, 40], [60, 60, 20, 20]], [0.1, 0.01], [0, 1])
    metrics = coco_metrics([one], [found], ["a", "b"], backend=backend)
    assert metrics["map"] == pytest.approx(1.0)
    assert capfd.readouterr().out == ""


def test_top_keeps_the_best_hundred_in_order() -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(0, 9, (130, 4)), rng.uniform(0, 1, 130)
    kept = top_detections(boxes, scores, np.arange(130))
    assert len(kept.scores) == 100
    assert np.array_equal(kept.scores, np.sort(scores)[::-1][:100])
    assert np.array_equal(kept.boxes, boxes[kept.labels])
