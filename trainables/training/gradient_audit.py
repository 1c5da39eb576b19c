"""Finds settings that do nothing before a trial begins: parameters that never move, layers that never run.

The audit runs a copy of the trial's model, so that the trial itself, and the random numbers that it draws,
stay as they are to the bit. Exact zeros in the trained parameters of the copy are first replaced by random
numbers: with LoRA's B at 0 the gradient of A is 0 too, but only in the first step.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from trainables.adapters.generators import held_generators
from trainables.adapters.registry import FAMILIES
from trainables.data.loader import Batch
from trainables.data.prepared import PreparedSplit
from trainables.errors import AdapterError, ModelError
from trainables.models.freezing import Parts, apply_freezing
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel, autocast, clone_module
from trainables.training.adapter_layers import LayerCalls, changed, hidden_state
from trainables.training.audit_batches import audit_batches
from trainables.training.evaluation import smaller_batch
from trainables.wording import few, plural

IMAGES = 4
"""The most images in a batch of the audit."""
TRIES = 3
"""The most batches until a parameter without a gradient is believed to have none."""
NOISE = 0.1
"""The standard deviation of the numbers that replace zeros."""
SHOWN = 3
"""The most names that an error lists."""
_DECIDES = {"adapter", "targets", "blocks", "freezing", "freeze_head", "head", "loss", "precision"}
"""The fields of a configuration, besides the adapter's section, that decide what has a gradient."""
_ALL_STAGES = float("inf")
"""The epoch of the audit: what trains at the start or later."""


def parameters_without_gradient(
    task: TaskModel, model: nn.Module, parts: Parts, config: TrialConfig, split: PreparedSplit
) -> tuple[str, ...]:
    """The names of the parameters that are set to train, now or in a later epoch, and have no gradient.

    model: newly built for `config`, with `requires_grad` set for epoch 0, as it is left.  split: the
    trial's training images.

    Raises AdapterError if no parameter of the adapter has a gradient, if an adapted layer does not run, or
    if the adapter keeps state that a checkpoint lacks; ModelError if the model is random in evaluation, or
    if memory does not suffice for one image.
    """
    device = next(model.parameters()).device
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        apply_freezing(parts, config, epoch=_ALL_STAGES)
        try:
            return _Audit(task, model, parts, config, split).run()
        finally:
            apply_freezing(parts, config, epoch=0.0)


def audited_kind(config: TrialConfig, parts: Parts) -> str:
    """A key that is equal for trials in which the same parameters have gradients.

    That depends on the settings and on the parameters' names, but not on how large a number is above 0.
    """
    settings = config.model_dump(mode="json", include=_DECIDES) | {"section": None}
    if config.section is not None:
        settings["section"] = config.section.model_dump(mode="json")
    names = [*parts.adapter, *parts.head, *parts.movable(config)]
    # Blocks after the last one that a head reads have no gradient: here numbers count.
    return json.dumps([_without_sizes(settings), config.head.blocks, sorted(names)], sort_keys=True)


def grouped(names: Iterable[str]) -> list[str]:
    """Parameters' names with their numbers replaced by `*`, as `layers.*.query.weight (12)`."""
    counts = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names)
    return [name if count == 1 else f"{name} ({count})" for name, count in counts.items()]


@dataclass
class _Audit:
    task: TaskModel
    model: nn.Module
    parts: Parts
    config: TrialConfig
    split: PreparedSplit

    def run(self) -> tuple[str, ...]:
        frozen = [parameter for parameter in self.model.parameters() if not parameter.requires_grad]
        copied = clone_module(self.model, sharing=frozen)
        trained = {name: p for name, p in copied.named_parameters() if p.requires_grad}
        for parameter in trained.values():
            _replace_zeros(parameter)
        try:
            return self._watch(copied, trained)
        finally:  # a model may refer to itself, and would keep its memory for a while
            for parameter in trained.values():
                parameter.grad, parameter.data = None, parameter.new_empty(0)

    def _watch(self, copied: nn.Module, trained: dict[str, nn.Parameter]) -> tuple[str, ...]:
        calls, before = LayerCalls(copied), hidden_state(copied)
        still = dict(trained)
        batches = list(islice(audit_batches(self.split, min(IMAGES, self.config.batch_size)), TRIES))
        for batch in batches:
            self._train_mode(copied)
            self._backward(copied, batch)
            still = {name: p for name, p in still.items() if not _moves(p)}
            if not still:
                break
        self._check_layers(calls.idle(), "")
        self._check_state(changed(before, hidden_state(copied)))

        copied.eval()
        self._check_evaluation(copied, batches[0])
        self._check_layers(calls.idle(), " in evaluation")
        if still:  # dropout of whole layers may have hidden a gradient
            self._backward(copied, batches[0])
        still = {name: p for name, p in still.items() if not _moves(p)}
        self._check_adapter(still)
        return tuple(still)

    def _train_mode(self, copied: nn.Module) -> None:
        fixed = {id(module) for module in self.parts.frozen_modules(self.config, _ALL_STAGES)}
        copied.train()
        for name, module in self.model.named_modules():
            if id(module) in fixed:
                copied.get_submodule(name).training = False

    def _backward(self, copied: nn.Module, batch: Batch) -> None:
        """Add the gradients of a batch's loss, in pieces that shrink until they fit into memory."""
        device, size = next(copied.parameters()).device, len(batch.indices)
        while True:
            try:
                for piece in batch.pieces(size):
                    with autocast(device, self.config.precision):
                        loss = self.task.loss(copied, piece.to(device), self.config)
                    if loss.requires_grad:
                        loss.backward()  # type: ignore[no-untyped-call]
                return
            except (torch.OutOfMemoryError, RuntimeError) as error:
                size = smaller_batch(size, error, device)

    @torch.no_grad()
    def _check_evaluation(self, copied: nn.Module, batch: Batch) -> None:
        image = next(batch.pieces(1))
        before = _random_state(copied)
        first = self._outputs(copied, image)
        if _same(before, _random_state(copied)):
            return
        if not torch.equal(first, self._outputs(copied, image)):
            raise ModelError(
                f"{self._what()} is random in evaluation: two predictions for one image differ, so its"
                " metrics would be those of one draw; "
                + (
                    "remove the argument that samples in evaluation (such as sample_at_inference)"
                    if self.parts.adapter
                    else "use another model"
                )
            )

    def _outputs(self, copied: nn.Module, image: Batch) -> Tensor:
        device = next(copied.parameters()).device
        with autocast(device, self.config.precision):
            return self.task.outputs(copied, image.to(device))

    def _check_layers(self, idle: list[str], when: str) -> None:
        if idle:
            raise AdapterError(
                f"{self._what()} would have no effect{when} on {few(idle, SHOWN, counted=True)}: the model"
                " reads the layer's weights without running it; choose other targets or blocks"
            )

    def _check_state(self, lost: list[str]) -> None:
        if lost:
            raise AdapterError(
                f"{self._what()} changes values in training that a checkpoint does not hold, so that a"
                f" resumed trial would differ: {few(lost, SHOWN, counted=True)}; use another method or other"
                " arguments"
            )

    def _check_adapter(self, still: Iterable[str]) -> None:
        if self.parts.adapter and set(self.parts.adapter) <= set(still):
            raise AdapterError(
                f"{self._what()} would not train: of its {plural(len(self.parts.adapter), 'parameter')} none"
                " has a gradient; choose other targets, blocks or arguments"
            )

    def _what(self) -> str:
        if not self.parts.adapter:
            return "the model"
        return f"adapter '{FAMILIES[self.config.adapter].title(self.config)}'"


def _without_sizes(value: Any) -> Any:
    """Settings with every number except 0 replaced by 1."""
    if isinstance(value, dict):
        return {key: _without_sizes(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_sizes(part) for part in value]
    return int(value != 0) if type(value) in (int, float) else value


@torch.no_grad()
def _replace_zeros(parameter: nn.Parameter) -> None:
    zeros = parameter == 0
    if zeros.any():
        parameter[zeros] = NOISE * torch.randn_like(parameter[zeros])


def _moves(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())


def _random_state(model: nn.Module) -> list[Tensor]:
    device = next(model.parameters()).device
    held = [generator.get_state() for generator in held_generators(model).values()]
    own = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state(device)]
    return [torch.get_rng_state(), *own, *held]


def _same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
