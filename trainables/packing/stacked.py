"""A model that computes one step of several trials at once: a shared backbone, and each trial's own parts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trainables.data.loader import Batch
from trainables.features.prefix import Prefix
from trainables.models.freezing import head_modules
from trainables.packing.forwards import Forward, Plain
from trainables.packing.heads import Heads
from trainables.packing.lanes import Lane
from trainables.packing.layers import PackedLinear, Parts, order_of
from trainables.packing.products import use_lane_linear
from trainables.packing.stacks import Stacks
from trainables.specs.trial import TrialConfig
from trainables.tasks.base import TaskModel
from trainables.training.state import TrialState


@dataclass(frozen=True)
class _Plan:
    """How the trials of one step are computed, for as long as the same trials take their steps together."""

    states: Sequence[TrialState]
    stacks: Stacks
    forward: nn.Module
    """Computes the outputs of all trials."""
    parts: dict[str, Parts]
    heads: dict[str, Any]


class PackedModel:
    """The model of one group of trials, whichever of them take part in a step."""

    def __init__(self, task: TaskModel, config: TrialConfig, forward: Forward | None = None) -> None:
        """config: that of any trial in the group.  forward: how the model runs; as it is by default."""
        self._task = task
        self._forward = forward or Plain()
        self._model = task.assemble(config, share=True)
        self._linears = use_lane_linear(self._model)
        layout = task.layout_in(self._model)
        self._layers: dict[str, PackedLinear] = {}
        adapted = config.section is not None
        for name in layout.targets(config.roles, config.blocks) if adapted else ():
            packed = PackedLinear(self._model.get_submodule(name))  # type: ignore[arg-type]
            _put(self._model, name, packed)
            self._layers[name] = packed
        self._heads = {name: Heads() for name in head_modules(self._model, task.head_names(self._model))}
        for name, heads in self._heads.items():
            _put(self._model, name, heads)
        self._plan: _Plan | None = None
        self._order: tuple[list[TrialState], list[TrialState]] = [], []
        """The trials that were ordered last, and their order."""

    @property
    def tensors(self) -> list[Tensor]:
        """The shared weights and buffers."""
        return [*self._model.parameters(), *self._model.buffers()]

    def ordered(self, states: Sequence[TrialState]) -> list[TrialState]:
        """The trials in the order in which most of them are computed at once."""
        known, order = self._order
        if not _same(states, known):
            first = next(iter(self._layers), None)
            order = (
                list(states)
                if first is None
                else sorted(states, key=lambda state: order_of(state.model.get_submodule(first)))
            )
            self._order = list(states), order
        return order

    def begin(self, states: Sequence[TrialState]) -> None:
        """Read the current weights of the trials that take the next step, in this order."""
        plan = self._plan
        if plan is None or not _same(states, plan.states):
            plan = self._plan = self._planned(states)
        plan.stacks.read()

    def losses(self, lanes: Sequence[Lane], batches: Sequence[Batch]) -> Tensor:
        """(lanes,) the loss of each lane's batch, all of one shape. lanes: those of `begin`."""
        assert self._plan is not None
        for linear in self._linears:
            linear.lanes = len(lanes)
        for name, layer in self._layers.items():
            layer.hold(lanes, self._plan.parts[name])
        for name, heads in self._heads.items():
            heads.hold(lanes, self._plan.heads[name])
        return self._task.lane_losses(self._plan.forward, batches, [lane.state.config for lane in lanes])

    def resumed(self, prefix: Prefix | None) -> AbstractContextManager[None]:
        """Within the context, the model continues from the hidden states of batches that have some."""
        return nullcontext() if prefix is None else prefix.resumed(self._model)

    def end(self) -> None:
        """Give the trials' parameters the gradients of all losses since `begin`."""
        assert self._plan is not None
        self._plan.stacks.divide()

    def _planned(self, states: Sequence[TrialState]) -> _Plan:
        stacks = Stacks()

        def modules(name: str) -> list[nn.Module]:
            return [state.model.get_submodule(name) for state in states]

        parts = {name: layer.parts_of(modules(name), stacks) for name, layer in self._layers.items()}
        heads = {name: head.computed_by(modules(name), stacks) for name, head in self._heads.items()}
        return _Plan(states, stacks, self._forward(self._model, stacks, states), parts, heads)


def _same(states: Sequence[TrialState], others: Sequence[TrialState]) -> bool:
    return len(states) == len(others) and all(map(operator.is_, states, others))


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
