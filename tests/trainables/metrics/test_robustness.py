"""Names and values of metrics in shifted domains, by both definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trainables.metrics.robustness import robustness_on, scored_robustness, under_shift
from trainables.specs.data import Split
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import Task, Workload

FLOORS = {
    "validation": {"dice": 0.2},
    "validation@a": {"dice": 0.1},
    "test": {"dice": 0.3},
    "test@a": {"dice": 0.35},
}


def _workload(*, before: bool = False, task: Task = Task.SEGMENTATION) -> Workload:
    corruption = {"corruption": {"kind": "blur"}}
    of = Workload.model_validate_json(
        json.dumps(
            {
                "task": task,
                "objective": {"metric": task.facts.main_metric},
                "data": {"embedded": {}, "domains": {"a": corruption, "b": corruption}},
            }
        )
    )
    return of.model_copy(update={"definitions": BEFORE}) if before else of


def test_names_of_metrics_under_shift() -> None:
    shifted = {"a": {"dice": 0.4, "dice/cat": 0.1}, "b": {"dice": 0.6}}
    found = under_shift(_workload(), {"dice": 0.8}, shifted, FLOORS)
    assert found == pytest.approx(
        {"dice@a": 0.4, "dice/cat@a": 0.1, "dice@b": 0.6}
        | {"robustness@a": 0.3 / 0.6, "robustness@b": 0.6 / 0.6, "robustness": 0.75}
    )
    assert "robustness" not in under_shift(_workload(), {"dice": 0.8}, {"a": {"dice": 0.4}}, FLOORS)


def test_an_objective_under_shift_always_has_a_value() -> None:
    shifted = {"a": {"dice": 0.4}, "b": {"iou": 0.6}}
    nothing = under_shift(_workload(), {"dice": 0.1}, shifted, FLOORS)
    assert (nothing["robustness@a"], nothing["robustness@b"], nothing["robustness"]) == (0.0, 0.0, 0.0)
    wrong = under_shift(_workload(), {"dice": 0.8}, {"a": {"dice": float("nan")}}, FLOORS)
    assert np.isnan(wrong["robustness@a"])


def test_a_record_of_before_has_the_names_and_values_of_before() -> None:
    shifted = {"a": {"dice": 0.4, "dice/cat": 0.1}, "b": {"dice": 0.6}}
    found = under_shift(_workload(before=True), {"dice": 0.8}, shifted, FLOORS)
    assert found == pytest.approx(
        {"dice@a": 0.4, "dice@b": 0.6, "robustness@a": 0.5, "robustness@b": 0.75, "robustness": 0.625}
    )


def test_robustness_on_test_images_has_their_floors() -> None:
    of = _workload()
    shifted = {"a": {"dice": 0.4}, "b": {}}
    assert scored_robustness(of, {"dice": 0.8}, shifted, FLOORS) == pytest.approx({"a": 0.05 / 0.5})
    assert scored_robustness(of, {"dice": 0.2}, shifted, FLOORS) == {"a": 0.0}, "it finds nothing itself"
    assert scored_robustness(of, {}, shifted, FLOORS) == {}
    assert scored_robustness(of, {"dice": 0.8}, {"a": {"dice": float("nan")}}, FLOORS) == {}
    before = _workload(before=True)
    assert scored_robustness(before, {"dice": 0.8}, shifted, {}) == {"a": 0.5}
    assert scored_robustness(before, {"dice": 0.0}, shifted, {}) == {}


def test_detection_has_floor_0() -> None:
    of = _workload(task=Task.DETECTION)
    assert robustness_on(Split.TEST, of, {"map": 0.5}, {"a": {"map": 0.25}}, {}) == {"a": 0.5}
