from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainables.conftest import config, workload
from trainables.packing.dry_run import measure_packing
from trainables.packing.stacked import PackedModel
from trainables.specs.pack import WhyLanes
from trainables.specs.workload import Task

ADALORA = '{"adapter": "adalora", "epochs": 5, "batch_size": 16}'


def test_what_packing_gains_is_measured_also_with_fewer_steps_than_that_takes() -> None:
    found = measure_packing(workload(Task.SEGMENTATION), config(ADALORA), threads=1, asked=None, most=3)
    assert (found.lanes, found.why, found.timed) == (8, WhyLanes.IMAGES, 3)
    assert found.together_ms is not None
    assert found.alone_ms is not None
    assert min(found.together_ms, found.alone_ms) > 0


def test_one_trial_at_a_time_has_nothing_to_compare() -> None:
    found = measure_packing(workload(Task.SEGMENTATION), config(ADALORA), threads=1, asked=6, most=1)
    assert (found.lanes, found.why, found.timed) == (6, WhyLanes.ASKED, None)


def test_memory_that_runs_out_is_found_before_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = PackedModel.losses

    def limited(model: PackedModel, lanes: Any, batches: Any) -> Any:
        if len(lanes) > 2:
            raise torch.OutOfMemoryError("scripted")
        return losses(model, lanes, batches)

    monkeypatch.setattr(PackedModel, "losses", limited)
    found = measure_packing(workload(Task.SEGMENTATION), config(ADALORA), threads=1, asked=4, most=4)
    assert (found.lanes, found.why) == (2, WhyLanes.OUT_OF_MEMORY)
