from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.trainables.conftest import config, report_values
from trainables.packing.pack import PackEngine
from trainables.packing.untouched import untouched
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

NORM = '{"adapter": "lora", "epochs": 1, "batch_size": 8, "head": {"norm": true, "dropout": 0.2}}'


def buffers(state: TrialState) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in state.model.named_buffers()}


@pytest.mark.parametrize("looked_at", [False, True])
def test_the_trial_that_is_checked_computes_what_one_that_is_not_checked_does(
    engine_of: Callable[[Task], Engine], looked_at: bool
) -> None:
    """The head's norm keeps running statistics, which each forward pass in training mode changes."""
    engine = engine_of(Task.SEGMENTATION)
    pack = PackEngine(engine)
    reports = []
    for _ in range(2):  # the first one of its kind is checked
        state = engine.start(config(NORM))
        before = buffers(state)
        if looked_at and not pack.trusted:
            assert pack.bytes_of_lane(state) is not None
        after = buffers(state)
        assert all(torch.equal(before[name], after[name]) for name in before)
        reports.append(report_values([report for _, report in pack.reports([state])]))
        changed = buffers(state)
        assert not all(torch.equal(before[name], changed[name]) for name in before)
    assert reports[0] == reports[1]
    assert list(pack.trusted.values()) == [True]


def test_statistics_and_costs_are_restored(engine_of: Callable[[Task], Engine]) -> None:
    state = engine_of(Task.SEGMENTATION).start(config(NORM))
    before = buffers(state)
    with untouched(state):
        for buffer in state.model.buffers():
            buffer.add_(1)
        state.spent.train_s += 7.0
    assert all(torch.equal(before[name], buffer) for name, buffer in buffers(state).items())
    assert state.spent.train_s == 0.0
