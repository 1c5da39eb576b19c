"""The heads of several trials in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.packing.lanes import Lane, has_dropout
from trainables.packing.stacks import Stacks
from trainables.tasks.head import SegmentationHead, enlarge, neighbours

FEW_ROWS = 64
"""Up to this many tokens in a batch, a convolution takes longer than a product of matrices."""


class Heads(nn.Module):
    """The lanes' own heads in place of one. Rows are ordered by lane."""

    def __init__(self) -> None:
        super().__init__()
        self._lanes: Sequence[Lane] = ()
        self._computed: Any = None

    def computed_by(self, heads: Sequence[nn.Module], stacks: Stacks) -> Any:
        """How these heads are computed: at once, or one after the other."""
        if all(type(head) is SegmentationHead and head.is_plain for head in heads):
            return _Segmentation(heads, stacks)
        return _EachAlone(heads)

    def hold(self, lanes: Sequence[Lane], computed: Any) -> None:
        """Compute these lanes from now on."""
        self._lanes, self._computed = lanes, computed

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """x (lanes · images, …) -> the heads' outputs, in the same order."""
        found: Tensor = self._computed(x, self._lanes, **options)
        return found


class _EachAlone:
    def __init__(self, heads: Sequence[nn.Module]) -> None:
        self._heads = heads
        self._draws = [has_dropout(head) for head in heads]

    def __call__(self, x: Tensor, lanes: Sequence[Lane], **options: Any) -> Tensor:
        found = []
        parts = x.reshape(len(lanes), -1, *x.shape[1:])
        for head, draws, lane, own in zip(self._heads, self._draws, lanes, parts, strict=True):
            with lane.drawing() if draws else nullcontext():
                found.append(head(own, **options))
        # Rows apart in memory: an elementwise function of the model, such as a sigmoid, computes the end of a
        # contiguous tensor otherwise than the rest, and where it ends depends on the number of lanes.
        return functional.pad(torch.cat(found), (0, 1))[..., :-1]


class _Segmentation:
    """Segmentation heads without norm and dropout."""

    def __init__(self, heads: Sequence[Any], stacks: Stacks) -> None:
        self._reduce, self._reduce_bias, self._classify, self._classify_bias = (
            stacks.of(list(parameters))
            for parameters in zip(
                *(
                    (head.reduce.weight, head.reduce.bias, head.classify.weight, head.classify.bias)
                    for head in heads
                ),
                strict=True,
            )
        )

    def __call__(
        self, x: Tensor, lanes: Sequence[Lane], *, grid: tuple[int, int], size: tuple[int, int] | None
    ) -> Tensor:
        images, tokens = len(x) // len(lanes), x.shape[1]
        reduced = (
            self._by_products(x, images, grid)
            if images * tokens <= FEW_ROWS
            else self._by_convolutions(x, images, grid)
        )
        # (lanes, classes, width) times (lanes, width, rows)
        scores = torch.baddbmm(
            self._classify_bias.unsqueeze(1), reduced.relu(), self._classify.flatten(2).transpose(1, 2)
        )
        maps = scores.view(len(x), *grid, -1).permute(0, 3, 1, 2)
        return enlarge(maps.float(), size)

    def _by_products(self, x: Tensor, images: int, grid: tuple[int, int]) -> Tensor:
        """(lanes, images · tokens, width)"""
        lanes, width, hidden = self._reduce.shape[:3]
        around = functional.pad(x, (0, 0, 0, 1)).index_select(1, neighbours(grid, x.device))
        weight = self._reduce.permute(0, 3, 4, 2, 1).reshape(lanes, 9 * hidden, width)
        return torch.baddbmm(self._reduce_bias.unsqueeze(1), around.view(lanes, -1, 9 * hidden), weight)

    def _by_convolutions(self, x: Tensor, images: int, grid: tuple[int, int]) -> Tensor:
        """(lanes, images · tokens, width)"""
        found = []
        weights = zip(self._reduce.unbind(), self._reduce_bias.unbind(), torch.split(x, images), strict=True)
        for weight, bias, own in weights:
            maps = own.transpose(1, 2).reshape(images, -1, *grid)
            found.append(functional.conv2d(maps, weight, bias, padding=1).flatten(2).transpose(1, 2))
        return torch.stack(found).view(len(found), -1, self._reduce.shape[1])
