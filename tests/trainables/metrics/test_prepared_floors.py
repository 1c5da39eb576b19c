"""Floors of prepared data: of validation and test images, in each domain."""

from __future__ import annotations

import json

import numpy as np

from trainables.data.prepared import open_prepared
from trainables.metrics.floors import mask_floors
from trainables.metrics.prepared_floors import prepared_floors, true_pixels
from trainables.metrics.rules import MetricRules
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import Task, Workload

DOMAINS = {"blurred": {"corruption": {"kind": "blur"}}, "rough": {"embedded": "textured"}}


def _workload(task: Task) -> Workload:
    data = {"embedded": {"train": 4, "validation": 5, "test": 3}, "domains": DOMAINS}
    metric = task.facts.main_metric
    return Workload.model_validate_json(
        json.dumps({"task": task, "objective": {"metric": metric}, "data": data})
    )


def test_each_set_of_masks_has_its_floors() -> None:
    of = _workload(Task.SEGMENTATION)
    prepared = open_prepared(prepare_workload(of))
    found = prepared_floors(prepared, of)
    sets = {f"{split}{at}" for split in ("validation", "test") for at in ("", "@blurred", "@rough")}
    assert found.keys() == sets
    assert found["validation@blurred"] == found["validation"], "a corruption has the same masks"
    split = prepared.splits[Split.TEST]
    truth = np.stack([np.bincount(split.mask(i).ravel(), minlength=256)[:11] for i in range(3)])
    assert (true_pixels(split, 11) == truth).all()
    assert found["test"] == mask_floors(truth, prepared.classes, MetricRules.of(of, prepared.classes))
    assert 0 < found["test"]["dice"] < found["test"]["dice_with_background"]


def test_boxes_and_records_of_before_have_no_floors() -> None:
    detection = _workload(Task.DETECTION)
    assert prepared_floors(open_prepared(prepare_workload(detection)), detection) == {}
    before = _workload(Task.SEGMENTATION).model_copy(update={"definitions": BEFORE})
    assert prepared_floors(open_prepared(prepare_workload(before)), before) == {}
