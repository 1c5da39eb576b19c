"""What image sides a detector takes: steps that its feature maps need, and room for its queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainables.data.resize import Resize, nearest_multiples
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec


@dataclass(frozen=True)
class SideRule:
    """The sides, in pixels, that a model takes.

    step: both sides must be multiples of it.  square: they must be equal.  cells: how many places an image
    of (height, width) gives, from which the model chooses its queries.  queries: how many it chooses.
    rounded_to: the processor rounds sides that depend on the image's shape down to a multiple of this.
    """

    step: int = 1
    square: bool = False
    cells: Callable[[int, int], int] | None = None
    queries: int = 0
    rounded_to: int = 1

    def check(self, resize: Resize, kind: str, spec: ModelSpec) -> None:
        """Raises ModelError if images of this size do not fit."""
        where = "model.image_size" if spec.image_size is not None else f"model.name '{spec.name}'"
        if self.square and not resize.is_fixed:
            raise ModelError(
                f"{where}: {kind} divides an image into windows, rightly only if it is square, but its"
                f" processor keeps the shape of images; set model.image_size to two equal multiples of"
                f" {self.step}, such as {[20 * self.step] * 2}"
            )
        height, width = resize.target(1, 1)
        near = nearest_multiples((height, width), (self.step, self.step))
        if near != [height, width]:
            raise ModelError(
                f"{where}: sides must be multiples of {self.step} pixels for {kind}, got {[height, width]};"
                f" set model.image_size to {near}"
            )
        if self.square and height != width:
            raise ModelError(
                f"{where}: {kind} divides an image into windows, rightly only if it is square, got"
                f" {[height, width]}; set model.image_size to {[max(height, width)] * 2}"
            )
        if self.cells is not None and self.cells(height, width) < self.queries:
            raise ModelError(
                f"{where}: {kind} chooses {self.queries} queries among the cells of its feature maps, but an"
                f" image of {[height, width]} pixels gives {self.cells(height, width)}; use larger images, at"
                f" least {self._enough(height, width)}, or a checkpoint with fewer queries"
            )

    def _enough(self, height: int, width: int) -> list[int]:
        """The first size in the steps, of about this shape, with enough cells."""
        assert self.cells is not None
        factor = 1
        while True:
            factor += 1
            sides = [-(-side * factor // (8 * self.step)) * self.step for side in (height, width)]
            if min(sides) and self.cells(*sides) >= self.queries:
                return sides


def any_size(config: Any) -> SideRule:
    """A model that takes images of any size."""
    return SideRule()


def pyramid_sizes(config: Any) -> SideRule:
    """RT-DETR and its kin: feature maps that are added to one another must fit."""
    strides = [int(stride) for stride in config.feat_strides]
    extra = max(0, config.num_feature_levels - len(strides))

    def cells(height: int, width: int) -> int:
        last = -(-height // (2 * strides[-1])) * -(-width // (2 * strides[-1]))
        return int(sum((height // s) * (width // s) for s in strides) + extra * last)

    return SideRule(step=max(strides), cells=cells, queries=config.num_queries)


def deformable_sizes(config: Any) -> SideRule:
    """Deformable DETR: any size; if it is two-stage, with a cell for each proposal."""
    if not getattr(config, "two_stage", False):
        return SideRule()
    stages = list(getattr(config.backbone_config, "out_indices", None) or [])
    # Stage k of a ResNet has a stride of 2^(k + 1).
    strides = [2 ** (int(stage) + 1) for stage in stages]
    if not strides or config.backbone_config.model_type != "resnet":
        return SideRule()
    strides += [strides[-1] * 2**more for more in range(1, config.num_feature_levels - len(strides) + 1)]

    def cells(height: int, width: int) -> int:
        return sum(-(-height // s) * -(-width // s) for s in strides)

    return SideRule(cells=cells, queries=config.two_stage_num_proposals)


def patch_sizes(config: Any) -> SideRule:
    """LW-DETR: whole patches, as many in each window."""
    backbone = config.backbone_config
    side = int(backbone.num_windows**0.5)
    scales = tuple(config.projector_scale_factors)

    def cells(height: int, width: int) -> int:
        rows, columns = height // backbone.patch_size, width // backbone.patch_size
        return int(sum((rows * scale) // 1 * ((columns * scale) // 1) for scale in scales))

    step = backbone.patch_size * side
    return SideRule(step=step, cells=cells, queries=config.num_queries, rounded_to=step)


def windowed_sizes(config: Any) -> SideRule:
    """RF-DETR: whole patches, as many in each window; transformers cuts windows rightly from squares only."""
    backbone = config.backbone_config
    step = backbone.patch_size * backbone.num_windows

    def cells(height: int, width: int) -> int:
        return int((height // backbone.patch_size) * (width // backbone.patch_size))

    return SideRule(
        step=step, square=backbone.num_windows > 1, cells=cells, queries=config.num_queries, rounded_to=step
    )
