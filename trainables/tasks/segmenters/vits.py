"""The ViT families whose patch tokens our own heads read, and what differs between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from torch import Tensor, nn

from trainables.data.resize import Resize, nearest_multiples
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub


class Positions(StrEnum):
    """How a model knows where its patches are, if images have another size than in pretraining."""

    INTERPOLATED_IF_TOLD = "interpolated if told"
    """Learned position embeddings, interpolated with `interpolate_pos_encoding=True`."""
    INTERPOLATED = "interpolated"
    """Learned position embeddings or biases, which the model always interpolates."""
    ROTARY = "rotary"
    """Computed from the grid of patches."""


def _unchanged(model: Any) -> None:
    """Leave a loaded model as it is."""


@dataclass(frozen=True)
class VitFamily:
    """The properties of a model type.

    first_tokens: tokens before the patch tokens, without register tokens.
    norm: the last normalisation, an attribute of the model.
    options: given to `from_pretrained`, to leave out pooling layers.
    changes: to the config, for the same purpose.
    vision: the part of the checkpoint's config that is the ViT's; empty if it is the whole config.
    prepare: changes a loaded model where its features cannot be kept otherwise; its outputs stay the same.
    """

    first_tokens: int = 1
    norm: str = "layernorm"
    positions: Positions = Positions.INTERPOLATED_IF_TOLD
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    vision: str = ""
    prepare: Callable[[Any], None] = _unchanged

    def config(self, whole: Any) -> Any:
        """The ViT's config in that of its checkpoint, without pooling layers."""
        own = getattr(whole, self.vision) if self.vision else whole
        for name, value in self.changes.items():
            setattr(own, name, value)
        return own

    def prefix(self, config: Any) -> int:
        """The number of tokens before the patch tokens."""
        return self.first_tokens + int(getattr(config, "num_register_tokens", 0) or 0)

    def load(self, spec: ModelSpec, whole: Any) -> nn.Module:
        """The ViT of a checkpoint without its pooling layers, on the CPU. Raises ModelError."""
        from transformers import AutoModel

        options = dict(self.options)
        if self.vision or self.changes:
            options["config"] = self.config(whole)
        model = hub.read_model(spec, Task.SEGMENTATION, AutoModel, **options)
        self.prepare(model)
        return model


def _rotary_from_shapes(model: Any) -> None:
    """Let DINOv3 compute its rotary embeddings on its own device, also for images that are only a shape.

    Kept features stand for images that exist no more; see `trainables.tasks.stand_in`.
    """
    rope = model.rope_embeddings
    rope.__class__ = type(f"Shaped{type(rope).__name__}", (_FromShape, type(rope)), {})


class _FromShape(nn.Module):
    """Rotary embeddings, which depend on the shape of an image and not on its pixels."""

    inv_freq: Tensor

    def forward(self, pixel_values: Tensor) -> Any:
        if pixel_values.is_meta:
            one = self.inv_freq.new_empty((), dtype=pixel_values.dtype)
            pixel_values = one.expand(pixel_values.shape)
        return super().forward(pixel_values)


_NO_POOLER = {"add_pooling_layer": False}
_SIGLIP = VitFamily(first_tokens=0, norm="post_layernorm", changes={"vision_use_head": False})
"""No class token; positions are interpolated."""

VIT_FAMILIES: Mapping[str, VitFamily] = {
    "vit": VitFamily(options=_NO_POOLER),
    "deit": VitFamily(first_tokens=2, options=_NO_POOLER),
    "dinov2": VitFamily(positions=Positions.INTERPOLATED),
    "dinov2_with_registers": VitFamily(positions=Positions.INTERPOLATED),
    "dinov3_vit": VitFamily(norm="norm", positions=Positions.ROTARY, prepare=_rotary_from_shapes),
    "beit": VitFamily(positions=Positions.INTERPOLATED, options=_NO_POOLER),
    "siglip_vision_model": _SIGLIP,
    "siglip": replace(_SIGLIP, vision="vision_config"),
}
"""The families by `model_type`."""


def vit_resize(config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule. Raises ModelError for sides that patches do not fill, or positions that do not fit.

    config: the checkpoint's, of a model type in `VIT_FAMILIES`.
    """
    family = VIT_FAMILIES[config.model_type]
    own = family.config(config)
    patch, pretrained = pair(own.patch_size), pair(own.image_size)
    rule = hub.resize_from(processor, spec, multiple_of=math.lcm(*patch))
    if rule.height is not None and rule.width is not None:
        sides = rule.height, rule.width
        near = nearest_multiples(sides, patch)
        if near != list(sides):
            raise ModelError(
                f"model.image_size: sides must be multiples of the patch, {patch[0]}×{patch[1]} pixels, "
                f"got {list(sides)}; use {near}"
            )
    if pretrained[0] != pretrained[1] and family.positions is not Positions.ROTARY:
        _check_not_square(family, pretrained, rule, spec)
    return rule


def _check_not_square(family: VitFamily, pretrained: tuple[int, int], rule: Resize, spec: ModelSpec) -> None:
    """Raise ModelError: transformers interpolates the positions of a square grid, whatever the grid was."""
    if family.positions is Positions.INTERPOLATED:
        raise ModelError(
            f"model.name '{spec.name}': it was pretrained on images of {pretrained[0]}×{pretrained[1]}"
            " pixels, and transformers interpolates the positions of square images only; use another"
            " checkpoint"
        )
    if (rule.height, rule.width) != pretrained:
        raise ModelError(
            f"model.image_size: the model was pretrained on images that are not square, whose positions"
            f" transformers cannot interpolate; use {list(pretrained)}"
        )


def pair(value: Any) -> tuple[int, int]:
    """Height and width, of a number for both."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)
