"""A model that computes one step of several trials at once: a shared backbone, and each trial's own parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from trainables.data.loader import Batch
from trainables.packing.lanes import Lane
from trainables.packing.layers import PackedLinear, order_of
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel


class PackedModel:
    """The model of one group of trials, whichever of them take part in a step."""

    def __init__(self, task: TaskModel, config: TrialConfig) -> None:
        """config: that of any trial in the group."""
        self._task = task
        self._model = task.assemble(config, share=True)
        layout = task.layout_in(self._model)
        self._layers: dict[str, PackedLinear] = {}
        for name in layout.targets(config.roles, config.blocks):
            packed = PackedLinear(self._model.get_submodule(name))  # type: ignore[arg-type]
            _put(self._model, name, packed)
            self._layers[name] = packed
        self._heads: dict[str, _Heads] = {}
        for name in _head_modules(self._model, task.head_names(self._model)):
            head = _Heads()
            _put(self._model, name, head)
            self._heads[name] = head

    def ordered(self, lanes: Sequence[Lane]) -> list[Lane]:
        """The lanes in the order in which most of them are computed together."""
        first = next(iter(self._layers), None)
        return sorted(lanes, key=lambda lane: order_of([lane.module(first)] if first else []))

    def losses(self, lanes: Sequence[Lane], batches: Sequence[Batch]) -> Tensor:
        """(lanes,) the loss of each lane's batch, all of one size. lanes: in the order of `ordered`."""
        for name, layer in self._layers.items():
            layer.hold(lanes, name)
        for name, head in self._heads.items():
            head.hold(lanes, name)
        try:
            configs = [lane.state.config for lane in lanes]
            return self._task.lane_losses(self._model, batches, configs)
        finally:
            for held in (*self._layers.values(), *self._heads.values()):
                held.release()


class _Heads(nn.Module):
    """The lanes' own heads in place of one."""

    def __init__(self) -> None:
        super().__init__()
        self._lanes: Sequence[Lane] = ()
        self._modules_of: list[nn.Module] = []

    def hold(self, lanes: Sequence[Lane], name: str) -> None:
        self._lanes = lanes
        self._modules_of = [lane.module(name) for lane in lanes]

    def release(self) -> None:
        self._lanes, self._modules_of = (), []

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """x (lanes · images, …) -> the heads' outputs, in the same order."""
        parts = x.view(len(self._lanes), -1, *x.shape[1:])
        found = []
        for head, lane, own in zip(self._modules_of, self._lanes, parts, strict=True):
            with lane.drawing() if _draws(head) else nullcontext():
                found.append(head(own, **options))
        return torch.cat(found)


def _head_modules(model: nn.Module, head: Collection[str]) -> list[str]:
    """The names of the outermost modules whose parameters all belong to the head."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = [f"{name}.{own}" for own, _ in module.named_parameters()]
        listed = isinstance(module, nn.ModuleList)
        if inside and not listed and set(inside) <= set(head) and not name.startswith(tuple(found)):
            found.append(f"{name}.")
    return [name[:-1] for name in found]


def _draws(module: nn.Module) -> bool:
    return any(isinstance(part, _DropoutNd) and part.p > 0 for part in module.modules())


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
