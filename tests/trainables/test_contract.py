"""Every valid pair of adapter and freezing mode, on both tasks, through one contract.

Build, two steps, save, load, same outputs; and exactly the parameters that should train have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.contracts import PAIRS, check_goes_on, config_of
from trainables.backbones import EMBEDDED
from trainables.specs.adapters import Adapter, Freezing
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]


def test_the_set_of_pairs_is_whole() -> None:
    assert {adapter for adapter, _ in PAIRS} == set(Adapter)
    assert {Freezing(mode.split(",")[0]) for _, mode in PAIRS} == set(Freezing)
    assert len(PAIRS) == 4 * (len(Adapter) - 1) + 3


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize(("adapter", "mode"), PAIRS, ids=[f"{a}-{m}" for a, m in PAIRS])
def test_contract(engine_of: EngineOf, tmp_path: Path, task: Task, adapter: Adapter, mode: str) -> None:
    engine = engine_of(task)
    state = engine.start(config_of(adapter, mode, batch_size=8))
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    list(engine.advance([state], steps=2))
    assert state.step == 2
    moved = _moved(state, before)
    assert moved == _should_move(state, trains_backbone=mode.startswith(("unfrozen", "full")))
    if mode == "unfreeze_at":
        list(engine.advance([state]))
        list(engine.advance([state], steps=1))
        assert _moved(state, before) == _should_move(state, trains_backbone=True)

    check_goes_on(engine, state, tmp_path / "state.ckpt")


def _moved(state: TrialState, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, p in state.model.named_parameters() if not torch.equal(p, before[n])}


def _should_move(state: TrialState, *, trains_backbone: bool) -> set[str]:
    names = {*state.parts.adapter, *state.parts.head}
    if trains_backbone:
        names |= set(state.parts.movable(state.config))
    return names
