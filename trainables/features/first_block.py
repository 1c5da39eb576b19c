"""The number of blocks of a trial's model that stay as they are: those below the first that trains."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from trainables.adapters.layout import Layout
from trainables.models.freezing import Parts, backbone_trains
from trainables.specs.trial import TrialConfig


def blocks_before_training(
    model: nn.Module, parts: Parts, config: TrialConfig, layout: Layout, *, epoch: float
) -> int:
    """The number of the first block with an adapter or with weights that train in `epoch`.

    The number of all blocks if only layers after them train; 0 also if the embeddings train. At most one more
    than the first block that a head reads (`earliest_read` of the model): what is before it is known no more.
    """
    return min([len(layout.blocks), *_changed(model, parts, config, layout, epoch)])


def _changed(
    model: nn.Module, parts: Parts, config: TrialConfig, layout: Layout, epoch: float
) -> Iterator[int]:
    read: int | None = getattr(model, "earliest_read", None)
    if read is not None:
        yield read + 1
    for name in (*parts.adapter, *parts.fixed, *_wrapping(model)):
        block = layout.block_of(name)
        yield 0 if block is None else block
    if backbone_trains(config, epoch):
        for name in parts.movable(config):
            yield parts.depth[name] - 1  # what `frozen_blocks` counts: embeddings are below block 0


def _wrapping(model: nn.Module) -> Iterator[str]:
    """The layers that an adapter wraps, also those that hold no parameter of their own."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, "base_layer", None), nn.Module):
            yield name


def frozen_tensors(model: nn.Module, parts: Parts, layout: Layout, block: int) -> dict[str, Tensor]:
    """The parameters and buffers that the first `block` blocks compute with, and those of unknown place."""
    names = {name for name in parts.backbone if parts.depth[name] <= block}
    names |= {n for n in parts.backbone_buffers if (layout.block_of(n) or 0) < block}
    return {
        name: tensor for name, tensor in (*model.named_parameters(), *model.named_buffers()) if name in names
    }
