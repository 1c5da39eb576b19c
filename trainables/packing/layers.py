"""Layers of a frozen backbone that hold the adapters of several trials.

Rows of a packed batch are ordered by lane: those of lane k are rows k·B to (k+1)·B. The frozen weight is
applied to all of them, and each lane's low-rank weights to its own, as one batched product. Every product
is computed lane by lane inside one call, and ranks are padded to a size that depends on the lane's own rank
only: so what a lane computes does not depend on the other lanes, or on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, cast

import torch
from peft.tuners.adalora.layer import SVDLinear
from peft.tuners.gralora.layer import Linear as GraloraLinear
from peft.tuners.loha.layer import Linear as LohaLinear
from peft.tuners.lokr.layer import Linear as LokrLinear
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from trainables.adapters.families.serial_lora import SerialLinear
from trainables.adapters.family import ADAPTER_NAME
from trainables.packing.lanes import Lane
from trainables.packing.products import lane_products
from trainables.packing.stacks import Stacks

SMALLEST_RANK = 8
"""Ranks are padded to this, or to the next power of two above it."""


Product = Callable[[Tensor], Tensor]
"""The frozen product: (lanes, rows, in) -> (lanes, rows, out)."""
Parts = list[tuple[slice, "Adapters"]]
"""Which lanes are computed at once, and how."""
Size = tuple[int, ...]
"""What must be equal in layers of one kind that are computed at once, such as the padded rank."""


class Adapters(Protocol):
    """The adapters of some lanes in one layer, of one kind and padded rank."""

    def __call__(self, x: Tensor, linear: Product, lanes: Sequence[Lane]) -> Tensor:
        """x (lanes, rows, in) -> (lanes, rows, out)."""
        ...


class PackedLinear(nn.Module):
    """A frozen linear layer, and the lanes' adapters of it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self._lanes: Sequence[Lane] = ()
        self._parts: Parts = []

    def parts_of(self, layers: Sequence[nn.Module], stacks: Stacks) -> Parts:
        """How the adapted layers of the lanes are computed: neighbours of one kind at once."""
        parts: Parts = []
        start = 0
        for (kind, _), group in groupby(layers, key=_kind):
            held = list(group)
            parts.append((slice(start, start + len(held)), kind(held, stacks)))
            start += len(held)
        return parts

    def hold(self, lanes: Sequence[Lane], parts: Parts) -> None:
        """Compute these lanes from now on. parts: of their layers."""
        self._lanes, self._parts = lanes, parts

    def _product(self, x: Tensor) -> Tensor:
        return lane_products(x, self.base.weight, self.base.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (lanes · images, tokens, in) -> (lanes · images, tokens, out); tokens may be absent."""
        by_lane = x.reshape(len(self._lanes), -1, x.shape[-1])
        found = [adapters(by_lane[part], self._product, self._lanes[part]) for part, adapters in self._parts]
        whole = found[0] if len(found) == 1 else torch.cat(found)
        return whole.view(*x.shape[:-1], -1)


def order_of(layer: nn.Module) -> tuple[str, Size]:
    """A sort key for adapted layers: those with equal keys are computed at once."""
    kind, size = _kind(layer)
    return kind.__name__, size


def _kind(layer: Any) -> tuple[type[Any], Size]:
    """How a layer's adapter is computed, and its size."""
    # Exactly these: a method of PEFT that is built on one of them computes something else.
    if type(layer) is SerialLinear:
        return AddedToInput, (_padded(layer.r[ADAPTER_NAME]),)
    if type(layer) is SVDLinear:
        return AddedByValues, (_padded(layer.lora_A[ADAPTER_NAME].shape[0]),)
    if type(layer) is LoraLinear and not layer.lora_variant:
        return AddedToOutput, (_padded(layer.r[ADAPTER_NAME]),)
    if type(layer) is GraloraLinear and not layer.hybrid_r[ADAPTER_NAME]:
        # Blocks are not padded: their number and their rank must be equal.
        return AddedByBlocks, (layer.r[ADAPTER_NAME], layer.gralora_k[ADAPTER_NAME])
    if type(layer) in (LohaLinear, LokrLinear) and not layer.rank_dropout[ADAPTER_NAME]:
        return AddedByWeight, ()
    return EachAlone, ()


def _padded(rank: int) -> int:
    return max(SMALLEST_RANK, 1 << (rank - 1).bit_length())


class AddedToOutput:
    """LoRA: W x + b + scale · B(A x)."""

    def __init__(self, layers: Sequence[Any], stacks: Stacks) -> None:
        self._low_rank = _LowRank(layers, stacks)

    def __call__(self, x: Tensor, linear: Product, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        shared = linear(x)
        return torch.baddbmm(shared, self._low_rank.inner(x, lanes), self._low_rank.b.transpose(1, 2))


class AddedByValues(AddedToOutput):
    """AdaLoRA: as LoRA, with a singular value for each rank."""


class AddedToInput:
    """Serial LoRA: W(x + B(A x)) + b."""

    def __init__(self, layers: Sequence[Any], stacks: Stacks) -> None:
        self._low_rank = _LowRank(layers, stacks)

    def __call__(self, x: Tensor, linear: Product, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        changed = torch.baddbmm(x, self._low_rank.inner(x, lanes), self._low_rank.b.transpose(1, 2))
        return linear(changed)


class AddedByBlocks:
    """Localized LoRA: W x + b + ΔW x, where each block of ΔW has a low rank; computed as a full ΔW."""

    def __init__(self, layers: Sequence[Any], stacks: Stacks) -> None:
        first = layers[0]
        self._drops = [_dropout_of(layer.gralora_dropout[ADAPTER_NAME]) for layer in layers]
        a, b = (
            stacks.of([held[ADAPTER_NAME] for held in each])
            for each in ([la.gralora_A for la in layers], [la.gralora_B for la in layers])
        )
        self._scale = a.new_tensor([layer.scaling[ADAPTER_NAME] for layer in layers]).view(-1, 1, 1)
        self._a, self._b, self._blocks = a, b, first.gralora_k[ADAPTER_NAME]

    def __call__(self, x: Tensor, linear: Product, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        shared = linear(x)
        dropped = _dropped(x, self._drops, lanes)
        return torch.baddbmm(shared, dropped, self._weights().to(shared.dtype))

    def _weights(self) -> Tensor:
        """(lanes, in, out) the transposed ΔW."""
        lanes, blocks = len(self._a), self._blocks
        # Block (n, j) of ΔW maps part n of the input to part j of the output.
        a = self._a.view(lanes, blocks, -1, blocks, self._b.shape[2] // blocks).transpose(2, 3)
        b = self._b.view(lanes, blocks, blocks, -1, self._b.shape[3]).transpose(1, 2)
        found = torch.matmul(a, b)  # (lanes, n, j, in of a block, out of a block)
        return found.transpose(2, 3).reshape(lanes, self._a.shape[1] * self._a.shape[2], -1) * self._scale


class AddedByWeight:
    """LoHa and LoKr: W x + b + ΔW x, with the ΔW that PEFT computes for each lane."""

    def __init__(self, layers: Sequence[Any], stacks: Stacks) -> None:
        self._layers = layers

    def __call__(self, x: Tensor, linear: Product, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        shared = linear(x)
        weights = []
        for layer, lane in zip(self._layers, lanes, strict=True):
            weight = layer.get_delta_weight(ADAPTER_NAME)
            weights.append(weight if self._counts(layer, lane) else torch.zeros_like(weight))
        return torch.baddbmm(shared, x, torch.stack(weights).transpose(1, 2).to(shared.dtype))

    @staticmethod
    def _counts(layer: Any, lane: Lane) -> bool:
        """Whether dropout keeps the whole change; draws what PEFT draws."""
        with lane.drawing():
            return not layer.training or bool(torch.rand(1) > layer.module_dropout[ADAPTER_NAME])


class EachAlone:
    """Any other method of PEFT that adds to a layer's output: its own code, over the shared product."""

    def __init__(self, layers: Sequence[Any], stacks: Stacks) -> None:
        self._layers = layers

    def __call__(self, x: Tensor, linear: Product, lanes: Sequence[Lane]) -> Tensor:
        """See `Adapters`."""
        shared = linear(x)
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
        changed: Tensor = type(self.layer).forward(self.layer, x)
        return changed


class _LowRank:
    """The stacked low-rank weights of some lanes in one layer, ranks padded with zeros."""

    def __init__(self, layers: Sequence[Any], stacks: Stacks) -> None:
        self._drops = [_drop(layer) for layer in layers]
        svd = isinstance(layers[0], SVDLinear)
        a, b = ([_weight(held[ADAPTER_NAME]) for held in each] for each in _pairs(layers))
        rank = _padded(a[0].shape[0])
        self._a = stacks.of(a, (rank, a[0].shape[1]))
        self.b = stacks.of(b, (b[0].shape[0], rank))
        self._e = stacks.of([la.lora_E[ADAPTER_NAME] for la in layers], (rank, 1)) if svd else None
        scales = [la.scaling[ADAPTER_NAME] / _ranks(la) for la in layers]
        self._scale = a[0].new_tensor(scales).view(-1, 1, 1)

    def inner(self, x: Tensor, lanes: Sequence[Lane]) -> Tensor:
        """scale · A x: (lanes, rows, rank)."""
        a = self._a if self._e is None else self._a * self._e
        return torch.bmm(_dropped(x, self._drops, lanes), a.transpose(1, 2)) * self._scale


def _pairs(layers: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    return [layer.lora_A for layer in layers], [layer.lora_B for layer in layers]


def _weight(held: Any) -> nn.Parameter:
    return cast(nn.Parameter, held.weight if isinstance(held, nn.Linear) else held)


def _ranks(layer: Any) -> float:
    """What AdaLoRA divides its scale by; it stays the initial rank."""
    return float(layer.ranknum[ADAPTER_NAME]) + 1e-5 if isinstance(layer, SVDLinear) else 1.0


def _drop(layer: Any) -> float:
    return _dropout_of(layer.lora_dropout[ADAPTER_NAME])


def _dropout_of(dropout: nn.Module) -> float:
    return dropout.p if isinstance(dropout, nn.Dropout) else 0.0


def _dropped(x: Tensor, drops: Sequence[float], lanes: Sequence[Lane]) -> Tensor:
    if not any(drops):
        return x
    masks = [
        lane.kept(part, drop) if drop else torch.ones_like(part)
        for part, drop, lane in zip(x, drops, lanes, strict=True)
    ]
    return x * torch.stack(masks)
