"""Runs one variant of a PEFT method through the product: train, resume, export, merge, bf16."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from docs.peft_variants import DEFAULTS, Variant
from trainables.data.loader import eval_batches
from trainables.errors import AdaptertuneError, reason_of
from trainables.export.card_facts import Card
from trainables.export.write import export_model
from trainables.inference.trained_model import rebuild_model
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.training.checkpoint import read_state, read_weights, restore_state, save_state, save_weights
from trainables.training.engine import Engine
from trainables.training.state import TrialState

STEPS = 2
SHORT = {"epochs": 1, "batch_size": 4, "learning_rate": 0.01}
LAYERS = {"targets": ["query", "mlp"], "blocks": [1, 2]}
"""Layers of two shapes, in two blocks."""


@dataclass(frozen=True)
class Outcome:
    """What came of a variant on one task. refused: the reason; the rest is then empty.

    at_start: the largest change of an output before training.  change: that of training with the
    argument, against training without it; NaN for the defaults themselves. repeats: whether the same
    seed gives the same initial weights; that steps repeat is part of `resumes`.
    merge, bf16: a reason if it does not work.
    """

    refused: str | None = None
    parameters: int = 0
    at_start: float = 0.0
    change: float = 0.0
    from_head_only: float = 0.0
    from_lora: float = 0.0
    moved: bool = False
    repeats: bool = False
    resumes: bool = False
    exports: str | None = None
    merge: str | None = None
    bf16: str | None = None

    @property
    def works(self) -> bool:
        """Whether it trains, resumes to the bit, and leaves as an adapter."""
        return self.refused is None and self.resumes and self.repeats and self.moved and self.exports is None


@cache
def engine_for(task: Task) -> Engine:
    """An engine over a few embedded images; the embedded backbones are a ViT and a YOLOS of width 96."""
    metric = "map_50" if task is Task.DETECTION else "dice"
    asked = Workload.model_validate_json(
        json.dumps(
            {
                "task": task,
                "objective": {"metric": metric},
                "data": {"embedded": {"domain": "inverted", "train": 24, "validation": 8, "test": 4}},
            }
        )
    )
    return Engine(asked, prepare_workload(asked), device="cpu")


def settings(method: str, arguments: Mapping[str, Any], **fields: Any) -> TrialConfig:
    """A short trial of a method on layers of two shapes."""
    return TrialConfig.model_validate_json(
        json.dumps(
            {
                "adapter": "peft",
                "peft": {"method": method, "arguments": dict(arguments)},
                **LAYERS,
                **SHORT,
                **fields,
            }
        )
    )


def outputs(engine: Engine, model: torch.nn.Module) -> Tensor:
    """Raw outputs on two validation images, in evaluation mode."""
    model.eval()
    batch = eval_batches(engine.data.splits[Split.VALIDATION], batch_size=2)[0]
    with torch.no_grad():
        return engine.task.outputs(model, batch).clone()


def trained(engine: Engine, config: TrialConfig, steps: int = STEPS) -> TrialState:
    """A trial after a few steps."""
    state = engine.start(config)
    list(engine.advance([state], steps=steps))
    return state


@cache
def _reference(task: Task, kind: str) -> Tensor:
    engine = engine_for(task)
    if kind == "untrained":
        return outputs(engine, engine.start(_plain("none")).model)
    return outputs(engine, trained(engine, _plain(kind)).model)


def _plain(adapter: str) -> TrialConfig:
    fields: dict[str, Any] = {"adapter": adapter, **SHORT}
    if adapter != "none":
        fields |= {**LAYERS, "lora": {"alpha": 8.0}}
    return TrialConfig.model_validate_json(json.dumps(fields))


@cache
def _of_base(task: Task, method: str, arguments: str) -> Tensor | None:
    engine = engine_for(task)
    try:
        return outputs(engine, trained(engine, settings(method, json.loads(arguments))).model)
    except AdaptertuneError:
        return None


def outcome_of(task: Task, variant: Variant) -> Outcome:
    """Run a variant on one task. Errors of the product are outcomes; other errors are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _outcome(task, variant)


def _outcome(task: Task, variant: Variant) -> Outcome:
    engine, config = engine_for(task), settings(variant.method, variant.arguments)
    try:
        state = engine.start(config)
    except AdaptertuneError as error:
        return Outcome(refused=reason_of(error))
    started = outputs(engine, state.model)
    before = {name: p.detach().clone() for name, p in state.parts.adapter.items()}
    list(engine.advance([state], steps=STEPS))
    after = outputs(engine, state.model)
    again = engine.start(config).parts.adapter
    base = None
    if variant.argument is not None:
        # Without the argument the others may be invalid; then it is held against the defaults.
        base = _of_base(task, variant.method, json.dumps(variant.base))
        if base is None:
            base = _of_base(task, variant.method, json.dumps(DEFAULTS.get(variant.method, {})))
    with tempfile.TemporaryDirectory() as folder:
        return Outcome(
            parameters=sum(p.numel() for p in before.values()),
            at_start=_apart(started, _reference(task, "untrained")),
            change=float("nan") if base is None else _apart(after, base),
            from_head_only=_apart(after, _reference(task, "none")),
            from_lora=_apart(after, _reference(task, "lora")),
            moved=any(not torch.equal(p, before[name]) for name, p in state.parts.adapter.items()),
            repeats=all(torch.equal(p, before[name]) for name, p in again.items()),
            resumes=_resumes(engine, state, Path(folder) / "last.ckpt"),
            exports=_leaves(engine, state, Path(folder), merge=False),
            merge=_leaves(engine, state, Path(folder), merge=True),
            bf16=_bf16(engine, variant),
        )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape else float("inf")


def _resumes(engine: Engine, state: TrialState, path: Path) -> bool:
    """Whether the next step after a restore is the same to the bit; `state` goes on by that step."""
    save_state(state, path)
    saved = read_state(path)
    again = engine.start(state.config, kept=saved.weights.kept)
    restore_state(again, saved)
    same = torch.equal(outputs(engine, again.model), outputs(engine, state.model))
    for each in (state, again):
        list(engine.advance([each], steps=1))
    return same and torch.equal(outputs(engine, again.model), outputs(engine, state.model))


def _leaves(engine: Engine, state: TrialState, folder: Path, *, merge: bool) -> str | None:
    """Why the export fails, which compares outputs itself; None if it does not."""
    weights, out = folder / "best.ckpt", folder / "out"
    save_weights(state, weights)
    try:
        model = rebuild_model(engine.workload, engine.task, read_weights(weights))
        export_model(model, out, merge=merge, card=Card("x"))
    except Exception as error:  # the page says what happened
        return reason_of(error).splitlines()[0]
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return None


def _bf16(engine: Engine, variant: Variant) -> str | None:
    try:
        state = trained(engine, settings(variant.method, variant.arguments, precision="bf16"), steps=1)
        return None if bool(torch.isfinite(outputs(engine, state.model)).all()) else "outputs are not finite"
    except Exception as error:
        return reason_of(error).splitlines()[0]
