"""How the forward pass of a packed model runs: as it is written, replayed as CUDA graphs, or compiled.

With few images in a step, a GPU waits for Python to launch its kernels. A CUDA graph launches all kernels of
a pass at once; a compiled model has fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.packing.lanes import has_dropout
from trainables.packing.stacks import Stacks
from trainables.training.state import TrialState


class Forward(Protocol):
    """Makes the model that computes the steps of a fixed list of trials."""

    def __call__(self, model: nn.Module, stacks: Stacks, states: Sequence[TrialState]) -> nn.Module:
        """A module that is called as `model` is. stacks: the trained tensors of `states` in `model`."""
        ...


@dataclass(frozen=True)
class Plain:
    """The model as it is."""

    def __call__(self, model: nn.Module, stacks: Stacks, states: Sequence[TrialState]) -> nn.Module:
        """See `Forward`."""
        return model


@dataclass(frozen=True)
class Compiled:
    """The model compiled by `torch.compile`, again for every number of trials in a step."""

    backend: str = "inductor"
    _made: dict[nn.Module, nn.Module] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, model: nn.Module, stacks: Stacks, states: Sequence[TrialState]) -> nn.Module:
        """See `Forward`."""
        if model not in self._made:
            self._made[model] = _Compiled(model, self.backend)
        return self._made[model]


class _Compiled(nn.Module):
    """A compiled model; without gradients the model itself, which would be compiled once more for them."""

    def __init__(self, model: nn.Module, backend: str) -> None:
        super().__init__()
        self._model = model
        self._fast = torch.compile(model, dynamic=False, backend=backend)

    def forward(self, *images: Tensor, **options: Any) -> Any:
        return (self._fast if torch.is_grad_enabled() else self._model)(*images, **options)


Record = Callable[..., Callable[..., Any]]
"""As `torch.cuda.make_graphed_callables`."""


@dataclass(frozen=True)
class Graphs:
    """The forward and the backward pass replayed as CUDA graphs, for trials that draw no random numbers.

    A graph holds addresses, so it is recorded again whenever trials join or leave; memory for the activations
    of a step stays allocated as long as the graph. Gradients lie in memory that the next replay overwrites.
    """

    record: Record = torch.cuda.make_graphed_callables
    of: Forward = field(default_factory=Plain)
    """What is recorded."""

    def __call__(self, model: nn.Module, stacks: Stacks, states: Sequence[TrialState]) -> nn.Module:
        """See `Forward`."""
        inner = self.of(model, stacks, states)
        if any(state.config.accumulate > 1 or draws(state) for state in states):
            return inner
        return _Graphed(inner, stacks.tensors, self.record)


def draws(state: TrialState) -> bool:
    """Whether a packed step of the trial may draw random numbers; a graph would replay the same ones."""
    config = state.config
    section = config.section
    if section is not None and (not section.stacked or getattr(section, "dora", False)):
        return True
    return has_dropout(state.model)


class _Graphed(nn.Module):
    """A model whose passes are recorded at its first call with images of one shape, then replayed."""

    def __init__(self, model: nn.Module, trained: Sequence[Tensor], record: Record) -> None:
        super().__init__()
        self._model = model
        self._trained = list(trained)
        self._record = record
        self._recorded: dict[Hashable, Callable[..., Any]] = {}

    def forward(self, pixel_values: Tensor, **options: Any) -> Any:
        # Images that stand for hidden states (`tasks.stand_in`) are not what the model computes with.
        fixed = all(isinstance(value, bool) for value in options.values())
        if not fixed or not torch.is_grad_enabled() or pixel_values.is_meta:
            return self._model(pixel_values, **options)
        kind = pixel_values.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (pixel_values.shape, pixel_values.dtype, precision, *sorted(options.items()))
        if key not in self._recorded:
            self._recorded[key] = self._recording(pixel_values, precision, options)
        return self._recorded[key](pixel_values, *self._trained)

    def _recording(
        self, images: Tensor, precision: torch.dtype | None, options: dict[str, bool]
    ) -> Callable[..., Any]:
        kind = images.device.type

        def passed(pixel_values: Tensor, *trained: Tensor) -> Any:
            # The layers hold `trained` themselves; as arguments they tell what needs gradients.
            with torch.autocast(kind, precision, enabled=precision is not None, cache_enabled=False):
                return self._model(pixel_values, **options)

        # A cast that autocast remembers from before the recording would not be part of it.
        with torch.autocast(kind, enabled=False):
            return self._record(passed, (images.clone(), *self._trained), allow_unused_input=True)
