"""Every valid pair of adapter and freezing mode, on both tasks, through one contract.

Build, two steps, save, load, same outputs; and exactly the parameters that should train have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainables.backbones import EMBEDDED
from trainables.data.loader import eval_batches
from trainables.specs.adapters import WITHOUT_ADAPTER, Adapter, Freezing
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]

EXTRA = {
    Adapter.ADALORA: '"adalora": {"init_rank": 6, "target_rank": 2},',
    Adapter.PEFT: '"peft": {"method": "IA3"},',
}
MODES = {
    "head_only": '"freezing": "head_only"',
    "frozen": '"freezing": "frozen"',
    "unfrozen": '"freezing": "unfrozen"',
    "full": '"freezing": "full"',
    "unfreeze_at": '"freezing": "unfreeze_at", "unfreeze_epoch": 1',
    "unfrozen, frozen_blocks": '"freezing": "unfrozen", "frozen_blocks": 2',
    "full, frozen_blocks": '"freezing": "full", "frozen_blocks": 2',
}


def _goes(adapter: Adapter, mode: str) -> bool:
    without = Freezing(mode.split(",")[0]) in WITHOUT_ADAPTER
    return (adapter is Adapter.NONE) == without


PAIRS = [(adapter, mode) for adapter in Adapter for mode in MODES if _goes(adapter, mode)]


def _config(adapter: Adapter, mode: str) -> TrialConfig:
    return TrialConfig.model_validate_json(
        f'{{"adapter": "{adapter}", {EXTRA.get(adapter, "")} {MODES[mode]}, '
        '"epochs": 4, "batch_size": 8, "weight_decay": 0.0}'
    )


def test_the_set_of_pairs_is_whole() -> None:
    assert {adapter for adapter, _ in PAIRS} == set(Adapter)
    assert {Freezing(mode.split(",")[0]) for _, mode in PAIRS} == set(Freezing)
    assert len(PAIRS) == 4 * (len(Adapter) - 1) + 3


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize(("adapter", "mode"), PAIRS, ids=[f"{a}-{m}" for a, m in PAIRS])
def test_contract(engine_of: EngineOf, tmp_path: Path, task: Task, adapter: Adapter, mode: str) -> None:
    engine = engine_of(task)
    asked = _config(adapter, mode)
    state = engine.start(asked)
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    list(engine.advance([state], steps=2))
    assert state.step == 2
    moved = _moved(state, before)
    assert moved == _should_move(state, trains_backbone=mode.startswith(("unfrozen", "full")))
    if mode == "unfreeze_at":
        list(engine.advance([state]))
        list(engine.advance([state], steps=1))
        assert _moved(state, before) == _should_move(state, trains_backbone=True)

    save_state(state, tmp_path / "state.ckpt")
    again = engine.start(asked)
    restore_state(again, read_state(tmp_path / "state.ckpt"))
    assert torch.equal(_outputs(engine, again), _outputs(engine, state))
    for resumed in (state, again):
        list(engine.advance([resumed], steps=1))
    assert torch.equal(_outputs(engine, again), _outputs(engine, state))


def _moved(state: TrialState, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, p in state.model.named_parameters() if not torch.equal(p, before[n])}


def _should_move(state: TrialState, *, trains_backbone: bool) -> set[str]:
    names = {*state.parts.adapter, *state.parts.head}
    if trains_backbone:
        names |= set(state.parts.movable(state.config))
    return names


def _outputs(engine: Engine, state: TrialState) -> torch.Tensor:
    state.model.eval()
    batch = eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0].to(engine.device)
    with torch.inference_mode():
        return engine.task.outputs(state.model, batch)
