"""What the contract suites of all kinds of models share: the pairs that they try, and what must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.data.loader import Batch, eval_batches
from trainables.export.card_facts import Card
from trainables.export.write import export_model
from trainables.inference.trained_model import TrainedModel
from trainables.models.freezing import backbone_trains
from trainables.specs.adapters import WITHOUT_ADAPTER, Adapter, Freezing
from trainables.specs.data import Split
from trainables.specs.trial import Precision, TrialConfig
from trainables.tasks.base import TaskModel
from trainables.tasks.registry import load_task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine
from trainables.training.state import TrialState

MODES: Mapping[str, Any] = {
    "head_only": {"freezing": "head_only"},
    "frozen": {"freezing": "frozen"},
    "unfrozen": {"freezing": "unfrozen"},
    "full": {"freezing": "full"},
    "unfreeze_at": {"freezing": "unfreeze_at", "unfreeze_epoch": 1},
    "unfrozen, frozen_blocks": {"freezing": "unfrozen", "frozen_blocks": 2},
    "full, frozen_blocks": {"freezing": "full", "frozen_blocks": 2},
}
"""Ways of freezing, as settings of a trial."""
EXTRA: Mapping[Adapter, Any] = {
    Adapter.ADALORA: {"adalora": {"init_rank": 6, "target_rank": 2}},
    Adapter.PEFT: {"peft": {"method": "IA3"}},
}
"""The settings of adapters that need some."""
STEADY: Mapping[str, Any] = {"learning_rate": 0.01, "schedule": "constant"}
"""Settings with which all that trains moves from the first step."""


def _goes(adapter: Adapter, mode: str) -> bool:
    return (adapter is Adapter.NONE) == (Freezing(mode.split(",")[0]) in WITHOUT_ADAPTER)


PAIRS = [(adapter, mode) for adapter in Adapter for mode in MODES if _goes(adapter, mode)]
"""Every valid pair of an adapter and a way of freezing."""


def config_of(adapter: Adapter, mode: str, **more: Any) -> TrialConfig:
    """Four short epochs without weight decay. more: settings in place of these, or besides."""
    asked = {"adapter": adapter, **EXTRA.get(adapter, {}), **MODES[mode]}
    asked |= {"epochs": 4, "batch_size": 4, "weight_decay": 0.0}
    return TrialConfig.model_validate_json(json.dumps(asked | more))


def values(state: TrialState) -> dict[str, Tensor]:
    """A copy of all that a trial's model holds."""
    return {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}


def check_moved(state: TrialState, before: Mapping[str, Tensor], *, epoch: int) -> None:
    """What should move has moved, unless its gradient was 0 or too small to be seen beside a weight."""
    found, expected = _moved(state, before), _should_move(state, epoch=epoch)
    # What keeps AdaLoRA's matrices orthogonal moves those, too, that no gradient of the loss reaches.
    penalized = {name for name in state.still if state.adapted.penalty() is not None and "lora_E" not in name}
    assert found <= expected | penalized, sorted(found - expected)
    held = dict(state.model.named_parameters())
    # AdaLoRA sets the values of ranks that it prunes back to 0, where they began.
    for name in (name for name in expected - found if "lora_E" not in name):
        average = state.optimizer.state[held[name]]["exp_avg"]
        assert float(average.abs().max()) < 1e-12, name


def _moved(state: TrialState, before: Mapping[str, Tensor]) -> set[str]:
    """Parameters, and running statistics, that are not what they were."""
    names = {name for name, _ in state.model.named_parameters()}
    names |= {name for name, _ in state.model.named_buffers() if "running" in name}
    now = state.model.state_dict()
    return {name for name in names if not torch.equal(now[name], before[name])}


def _should_move(state: TrialState, *, epoch: int) -> set[str]:
    """All that is set to train and has a gradient, and running statistics of layers that are not frozen."""
    trains = backbone_trains(state.config, epoch)
    names = {*state.parts.adapter, *state.parts.head}
    names |= set(state.parts.movable(state.config)) if trains else set()
    still = {id(module) for module in state.parts.frozen_modules(state.config, epoch)}
    for name, module in state.model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and id(module) not in still:
            names |= {f"{name}.running_mean", f"{name}.running_var"}
    return names - set(state.still)


def validation_batch(engine: Engine) -> Batch:
    """The first images of the validation split, on the engine's device."""
    return eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0].to(engine.device)


def outputs(engine: Engine, state: TrialState) -> Tensor:
    """What a trial's model, now in evaluation mode, gives for `validation_batch`."""
    state.model.eval()
    with torch.inference_mode():
        return engine.task.outputs(state.model, validation_batch(engine))


def check_goes_on(engine: Engine, state: TrialState, file: Path) -> None:
    """A trial that is saved to `file` and loaded computes the same, also after one more step."""
    save_state(state, file)
    again = engine.start(state.config)
    restore_state(again, read_state(file))
    assert torch.equal(outputs(engine, again), outputs(engine, state))
    for resumed in (state, again):
        list(engine.advance([resumed], steps=1))
    assert torch.equal(outputs(engine, again), outputs(engine, state))


def trained_model(engine: Engine, state: TrialState) -> TrainedModel:
    """A trial's model, in evaluation mode, as `predict` and `export` take it."""
    model = state.model.eval()
    return TrainedModel(
        engine.workload,
        state.config,
        engine.data.classes,
        engine.task,
        model,
        state.adapted,
        state.parts,
    )


def scores_of_merged_export(
    engine: Engine, state: TrialState, to: Path, part: Split, *, batch_size: int
) -> tuple[TaskModel, dict[str, float]]:
    """Export a trial's model, merged, into `to`, load it as a checkpoint, and evaluate that on a split."""
    result = export_model(trained_model(engine, state), to, merge=True, card=Card("by heart"))
    spec = engine.workload.model.model_copy(update={"name": str(result.folder)})
    workload = engine.workload.model_copy(update={"model": spec})
    again = load_task(workload, engine.data.classes, engine.device)
    with torch.inference_mode():
        return again, again.evaluate(
            again.assemble(state.config, share=True).eval(),
            engine.data.splits[part],
            batch_size=batch_size,
            device=engine.device,
            precision=Precision.FP32,
            config=state.config,
        )
