"""The segmentation heads, from patch tokens of a ViT to a map of class scores."""

from __future__ import annotations

from functools import lru_cache
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.adapters.block_span import evenly_spaced, resolve_blocks
from trainables.specs.trial import HeadKind, HeadSpec


class SegmentationHead(nn.Module):
    """3×3 convolution to `width`, optional norm and dropout, 1×1 convolution, bilinear upsampling.

    This is the head of study B (`ViT-B/16 + head`): width defaults to half the hidden size.
    """

    def __init__(
        self,
        hidden: int,
        classes: int,
        *,
        width: int | None = None,
        norm: bool = False,
        dropout: float = 0.0,
        blocks: int = 1,
    ) -> None:
        """blocks: the number of blocks whose tokens of `hidden` values it gets, one beside the other."""
        super().__init__()
        width = width or max(1, hidden // 2)
        self.reduce = nn.Conv2d(blocks * hidden, width, kernel_size=3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.dropout: nn.Module = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    @property
    def is_plain(self) -> bool:
        """Whether it has neither norm nor dropout."""
        return isinstance(self.norm, nn.Identity) and isinstance(self.dropout, nn.Identity)

    def forward(self, tokens: Tensor, *, grid: tuple[int, int], size: tuple[int, int] | None) -> Tensor:
        """tokens (batch, rows·columns, hidden) -> float32 logits (batch, classes, *size).

        size: None leaves them at the size of the grid.
        """
        batch, _, hidden = tokens.shape
        maps = tokens.transpose(1, 2).reshape(batch, hidden, *grid)
        maps = self.dropout(functional.relu(self.norm(self.reduce(maps))))
        # In float32 also under autocast: bfloat16 would round neighbouring scores to ties.
        return enlarge(self.classify(maps).float(), size)


class LinearHead(nn.Module):
    """Optional norm and dropout, 1×1 convolution, bilinear upsampling: the linear probe of DINOv2."""

    def __init__(
        self, hidden: int, classes: int, *, norm: bool = False, dropout: float = 0.0, blocks: int = 1
    ) -> None:
        """blocks: the number of blocks whose tokens of `hidden` values it gets, one beside the other."""
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(blocks * hidden) if norm else nn.Identity()
        self.dropout: nn.Module = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.classify = nn.Conv2d(blocks * hidden, classes, kernel_size=1)

    def forward(self, tokens: Tensor, *, grid: tuple[int, int], size: tuple[int, int] | None) -> Tensor:
        """tokens (batch, rows·columns, blocks·hidden) -> float32 logits (batch, classes, *size).

        size: None leaves them at the size of the grid.
        """
        maps = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
        return enlarge(self.classify(self.dropout(self.norm(maps))).float(), size)


SCALES = 4
"""The blocks that a multiscale head reads when none are named."""


def blocks_read(spec: HeadSpec, count: int) -> tuple[int, ...] | None:
    """The blocks whose normalised tokens a head reads, of a model with `count`; None for the model's output.

    The output is that of the last block, normalised where the model has a last norm.
    """
    if spec.kind is HeadKind.CONV:
        return None
    if spec.blocks is not None:
        return resolve_blocks(spec.blocks, count)
    return (count - 1,) if spec.kind is HeadKind.LINEAR else evenly_spaced(SCALES, count)


def new_head(spec: HeadSpec, hidden: int, classes: int, *, blocks: int) -> SegmentationHead | LinearHead:
    """A head as `spec` says, drawn from torch's global generator. blocks: how many it reads."""
    match spec.kind:
        case HeadKind.CONV | HeadKind.MULTISCALE:
            return SegmentationHead(
                hidden, classes, width=spec.width, norm=spec.norm, dropout=spec.dropout, blocks=blocks
            )
        case HeadKind.LINEAR:
            return LinearHead(hidden, classes, norm=spec.norm, dropout=spec.dropout, blocks=blocks)
        case _:
            assert_never(spec.kind)


def enlarge(maps: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Enlarge (batch, channels, h, w) float32 maps to `size`, bilinearly, as `functional.interpolate` does.

    size: None leaves them as they are.

    As two products of matrices: on a CPU their forward and backward passes take a third of the time of
    torch's own function.
    """
    if size is None:
        return maps
    batch, channels, height, width = maps.shape
    with torch.autocast(maps.device.type, enabled=False):
        down, across = (enlarging(*sides, maps.device) for sides in ((height, size[0]), (width, size[1])))
        columns = maps.transpose(2, 3).reshape(-1, height)
        rows = functional.linear(columns, down).view(-1, width, size[0]).transpose(1, 2)
        return functional.linear(rows.reshape(-1, width), across).view(batch, channels, *size)


@lru_cache(maxsize=64)
def enlarging(small: int, large: int, device: torch.device) -> Tensor:
    """(large, small): what each of `small` values contributes to `large` values between them."""
    with torch.inference_mode(False):  # kept for training, whoever asks first
        ones = torch.eye(small, device=device).view(small, 1, small, 1)
        found = functional.interpolate(ones, size=(large, 1), mode="bilinear", align_corners=False)
        return found[:, 0, :, 0].t().contiguous()


@lru_cache(maxsize=64)
def neighbours(grid: tuple[int, int], device: torch.device) -> Tensor:
    """(tokens · 9,) for each token of a grid, the tokens under a 3×3 kernel; outside: one after the last."""
    rows, columns = grid
    with torch.inference_mode(False):
        places = torch.arange(rows * columns, device=device).view(1, 1, rows, columns)
        framed = functional.pad(places, (1, 1, 1, 1), value=rows * columns)
        kernels = framed.unfold(2, 3, 1).unfold(3, 3, 1)
        return kernels.reshape(-1)
