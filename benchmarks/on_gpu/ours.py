"""Trials of adaptertune for the GPU benchmark, over images that lie on the device."""

from __future__ import annotations

import inspect
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.on_gpu.models import Sizes, names, random_batches
from benchmarks.on_gpu.peers import ALPHA, CLIP, DECAY, RANK, RATE
from trainables.packing.forwards import Forward
from trainables.packing.pack import PackEngine
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.tasks.registry import load_task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

STEPS = 1_000_000
"""The images of an epoch: no trial reaches a report."""


class NothingKept:
    """For images that are never kept as hidden states: see `trainables.features.trial_features.Stage`."""

    kept = None

    def of(self, *_: Any) -> tuple[NothingKept]:
        """See `TrialImages.of`."""
        return (self,)

    def features_of(self, *_: Any) -> NothingKept:
        """See `SizedImages.features_of`."""
        return self

    def stage(self, epoch: int) -> int:
        """See `TrialImages.stage`."""
        return 0

    def at(self, epoch: float) -> NothingKept:
        """See `TrialFeatures.at`."""
        return self

    def with_states(self, batch: Any) -> Any:
        """The batch itself."""
        return batch

    def resumed(self) -> AbstractContextManager[None]:
        """Nothing is resumed."""
        return nullcontext()


class ResidentEngine(Engine):
    """The engine with random images that lie on the device, and without reports."""

    def __init__(self, folder: Path, sizes: Sizes, device: torch.device) -> None:
        task = Task.DETECTION if sizes.queries else Task.SEGMENTATION
        settings = {
            "task": task,
            "model": {"name": str(folder)},
            "objective": {"metric": task.facts.main_metric},
        }
        self.workload = Workload.model_validate_json(json.dumps(settings))
        self.device = device
        self.task = load_task(self.workload, names(sizes), device)
        self.data: Any = SimpleNamespace(classes=names(sizes))
        self._images: Any = NothingKept()
        self.sizes = sizes
        self.losses: dict[int, list[Tensor]] = {}
        """The losses of trials that are entered here, by number."""
        self._batches: dict[int, list[Any]] = {}

    def _training(self, config: TrialConfig, epoch: int = 0) -> Any:
        return range(STEPS)

    def _without_gradient(self, *_: Any, **__: Any) -> tuple[str, ...]:
        return ()

    def begin_step(self, state: TrialState) -> list[Any]:
        """The trial's next batch."""
        if state.number not in self._batches:
            self._batches[state.number] = random_batches(self.sizes, state.number, self.device)
        own = self._batches[state.number]
        self._set_rates(state)
        if not state.model.training:
            state.model.train()
        return [own[state.step % len(own)]]

    def finish_step(self, state: TrialState, group: Any, loss: Tensor, scale: Tensor | None) -> bool:
        """As the engine; notes the loss if asked."""
        if state.number in self.losses:
            self.losses[state.number].append(loss.detach().clone())
        return super().finish_step(state, group, loss, scale)


def over_tokens(engine: ResidentEngine, tokens: Tensor) -> None:
    """Let the engine's segmenters take these tokens, (batch, patches, hidden), in place of the backbone's."""
    task: Any = engine.task
    engine.task = replace(task, backbone=_Tokens(task.backbone.config, tokens))


class _Tokens(nn.Module):
    """In place of a ViT whose outputs for the images are known."""

    def __init__(self, config: Any, tokens: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("tokens", tokens)
        self.nothing = nn.Parameter(tokens.new_zeros(()), requires_grad=False)

    def forward(self, pixel_values: Tensor) -> Any:
        tokens = self.get_buffer("tokens")
        tokens = tokens.repeat(len(pixel_values) // len(tokens), 1, 1)
        first = tokens[:, :1]  # where the class token is
        return SimpleNamespace(last_hidden_state=torch.cat([first, tokens], dim=1))


def trial(engine: ResidentEngine, number: int, *, adapter: str, bf16: bool, rate: float = RATE) -> TrialState:
    """A new trial: LoRA on query and value, or a head alone."""
    settings: dict[str, Any] = {
        "adapter": adapter,
        "batch_size": engine.sizes.batch,
        "learning_rate": rate,
        "weight_decay": DECAY,
        "schedule": "constant",
        "clip_norm": CLIP,
        "precision": "bf16" if bf16 else "fp32",
        "seed": number,
        "epochs": 1,
    }
    if adapter == "lora":
        settings["lora"] = {"rank": RANK, "alpha": ALPHA}
    return engine.start(TrialConfig.model_validate_json(json.dumps(settings)), number=number)


def packable(engine: Engine) -> bool:
    """Whether the task computes the losses of several trials."""
    found = getattr(engine.task, "lane_losses", None)
    return found is not None and "model" in inspect.signature(found).parameters


class Pack:
    """Trials that take their steps together."""

    def __init__(self, engine: ResidentEngine, states: list[TrialState], forward: Forward) -> None:
        self.states = states
        self._pack = PackEngine(engine, forward)

    def step(self, times: int) -> int:
        """Take steps of every trial; returns their number. Raises a trial's error, or if one ran alone."""
        for state, found in self._pack.advance(self.states, steps=times):
            if isinstance(found, Exception):
                raise found
            raise RuntimeError(f"trial {state.number} reports {found.outcome} in the middle of an epoch")
        if not all(self._pack.trusted.values()):
            raise RuntimeError(
                "the packed model does not compute what a trial computes alone, so none is packed"
            )
        return times * len(self.states)


class Alone:
    """One of our trials that takes its steps alone."""

    def __init__(self, engine: ResidentEngine, state: TrialState) -> None:
        self._engine, self._state = engine, state

    def step(self, times: int) -> int:
        """Take steps; returns their number."""
        for _, report in self._engine.advance([self._state], steps=times):
            raise RuntimeError(f"the trial reports {report.outcome} in the middle of an epoch")
        return times


def trained_weights(state: TrialState) -> dict[str, Tensor]:
    """The tensors that train, by the names that they have in the peers' models."""
    prefixes = {"backbone.": "vit.base_model.model.", "head.": ""}
    found = {}
    for name, parameter in state.model.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = next((new + name[len(old) :] for old, new in prefixes.items() if name.startswith(old)), None)
        found[plain or f"base_model.model.{name}"] = parameter.detach().clone()
    return found
