"""Layers of a frozen backbone that hold the adapters of several trials.

Rows of a packed batch are ordered by lane: those of lane k are rows k·B to (k+1)·B. The frozen weight is
applied to all of them, and each lane's low-rank weights to its own, as one batched product. Every product
is computed lane by lane inside one call, and ranks are padded to a size that depends on the lane's own rank
only: so what a lane computes does not depend on the other lanes, or on their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from peft.tuners.adalora.layer import SVDLinear
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional

from trainables.adapters.families.serial_lora import SerialLinear
from trainables.adapters.family import ADAPTER_NAME
from trainables.packing.lanes import Lane

SMALLEST_RANK = 8
"""Ranks are padded to this, or to the next power of two above it."""


@dataclass(frozen=True)
class LowRank:
    """One lane's update of one layer, (B A) · scale, without the zeros that pad its rank."""

    a: Tensor
    """(rank, in)"""
    b: Tensor
    """(out, rank); (in, rank) if the update is added to the input."""
    scale: Tensor | float
    drop: float


class Adapters(Protocol):
    """The adapters of some lanes in one layer, of one kind and padded rank."""

    def __call__(self, x: Tensor, linear: nn.Linear, lanes: Sequence[Lane]) -> Tensor:
        """x (lanes, rows, in) -> (lanes, rows, out)."""
        ...


class PackedLinear(nn.Module):
    """A frozen linear layer, and the lanes' adapters of it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.lanes: Sequence[Lane] = ()
        self.parts: list[tuple[slice, Adapters]] = []

    def hold(self, lanes: Sequence[Lane], name: str) -> None:
        """Take the adapters of `lanes` in the layer `name`. Lanes of one kind should follow each other."""
        self.lanes = lanes
        self.parts = []
        layers = [lane.module(name) for lane in lanes]
        start = 0
        for (kind, _), group in groupby(layers, key=_kind):
            held = list(group)
            self.parts.append((slice(start, start + len(held)), kind(held)))
            start += len(held)

    def release(self) -> None:
        """Refer to no lane any more."""
        self.lanes, self.parts = (), []

    def forward(self, x: Tensor) -> Tensor:
        """x (lanes · images, tokens, in) -> (lanes · images, tokens, out); tokens may be absent."""
        by_lane = x.view(len(self.lanes), -1, x.shape[-1])
        found = [adapters(by_lane[part], self.base, self.lanes[part]) for part, adapters in self.parts]
        whole = found[0] if len(found) == 1 else torch.cat(found)
        return whole.view(*x.shape[:-1], -1)


def order_of(state_layers: Sequence[nn.Module]) -> tuple[str, int]:
    """A sort key for lanes: those with equal keys are computed in one call in each of these layers."""
    kind, size = _kind(state_layers[0]) if state_layers else (EachAlone, 0)
    return kind.__name__, size


def _kind(layer: nn.Module) -> tuple[type[Any], int]:
    """How a layer's adapter is computed, and its padded rank."""
    if isinstance(layer, SerialLinear):
        return AddedToInput, _padded(layer.r[ADAPTER_NAME])
    if isinstance(layer, SVDLinear):
        return AddedToOutput, _padded(layer.lora_A[ADAPTER_NAME].shape[0])
    if isinstance(layer, LoraLinear) and not layer.lora_variant:
        return AddedToOutput, _padded(layer.r[ADAPTER_NAME])
    return EachAlone, 0


def _padded(rank: int) -> int:
    return max(SMALLEST_RANK, 1 << (rank - 1).bit_length())


class AddedToOutput:
    """LoRA and AdaLoRA: W x + b + scale · B(A x)."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._drops = [_drop(layer) for layer in layers]

    def __call__(self, x: Tensor, linear: nn.Linear, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        a, b = _stacked([_low_rank(layer) for layer in self._layers])
        inner = torch.bmm(_dropped(x, self._drops, lanes), a)
        return torch.baddbmm(functional.linear(x, linear.weight, linear.bias), inner, b)


class AddedToInput:
    """Serial LoRA: W(x + B(A x)) + b."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self._drops = [_drop(layer) for layer in layers]

    def __call__(self, x: Tensor, linear: nn.Linear, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        a, b = _stacked([_low_rank(layer) for layer in self._layers])
        changed = torch.baddbmm(x, torch.bmm(_dropped(x, self._drops, lanes), a), b)
        return functional.linear(changed, linear.weight, linear.bias)


class EachAlone:
    """Any other method of PEFT that adds to a layer's output: its own code, over the shared product."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = layers

    def __call__(self, x: Tensor, linear: nn.Linear, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        shared = functional.linear(x, linear.weight, linear.bias)
        found = []
        for layer, lane, own, output in zip(self._layers, lanes, x, shared, strict=True):
            base = layer.get_base_layer()
            base.forward = _Given(base, own, output)
            try:
                with lane.drawing():
                    found.append(layer(own))
            finally:
                del base.forward
        return torch.stack(found)


@dataclass(frozen=True)
class _Given:
    """The forward of a layer whose output for one input is known."""

    layer: nn.Linear
    x: Tensor
    output: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        if x is self.x:
            return self.output.clone()  # some methods add to it in place
        return functional.linear(x, self.layer.weight, self.layer.bias)


def _low_rank(layer: Any) -> LowRank:
    a, b = layer.lora_A[ADAPTER_NAME], layer.lora_B[ADAPTER_NAME]
    scale = layer.scaling[ADAPTER_NAME]
    if isinstance(layer, SVDLinear):
        scale = scale / (layer.ranknum[ADAPTER_NAME] + 1e-5)
        return LowRank(a * layer.lora_E[ADAPTER_NAME], b, scale, 0.0)
    return LowRank(a.weight, b.weight, scale, 0.0)


def _drop(layer: Any) -> float:
    dropout = layer.lora_dropout[ADAPTER_NAME]
    return dropout.p if isinstance(dropout, nn.Dropout) else 0.0


def _stacked(updates: Sequence[LowRank]) -> tuple[Tensor, Tensor]:
    """(lanes, in, rank) and (lanes, rank, out), ranks padded with zeros, the scale in the second."""
    rank = _padded(updates[0].a.shape[0])
    a = torch.stack([_pad_rows(u.a, rank) for u in updates])
    b = torch.stack([_pad_rows((u.b * u.scale).t(), rank) for u in updates])
    return a.transpose(1, 2), b


def _pad_rows(matrix: Tensor, rows: int) -> Tensor:
    return matrix if len(matrix) == rows else functional.pad(matrix, (0, 0, 0, rows - len(matrix)))


def _dropped(x: Tensor, drops: Sequence[float], lanes: Sequence[Lane]) -> Tensor:
    if not any(drops):
        return x
    masks = [
        lane.kept(part, drop) if drop else torch.ones_like(part)
        for part, drop, lane in zip(x, drops, lanes, strict=True)
    ]
    return x * torch.stack(masks)
