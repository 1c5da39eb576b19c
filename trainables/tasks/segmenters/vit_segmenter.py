"""A ViT without its class token, and a head over its patches."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from trainables.tasks.head import SegmentationHead
from trainables.tasks.segmenters.vits import VIT_FAMILIES, Positions, pair


class Segmenter(nn.Module):
    """A ViT backbone without its class token, and a head; maps images to logits of the same size."""

    def __init__(self, backbone: nn.Module, head: SegmentationHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        config: Any = backbone.config
        family = VIT_FAMILIES[config.model_type]
        self.patch = pair(config.patch_size)
        self.pretrained_size = pair(config.image_size)
        self.prefix = family.prefix(config)
        """The number of tokens before the patch tokens."""
        self.told_to_interpolate = (
            family.positions is Positions.INTERPOLATED_IF_TOLD
            and "interpolate_pos_encoding" in inspect.signature(backbone.forward).parameters
        )

    def forward(self, images: Tensor, *, enlarged: bool = True) -> Tensor:
        """(B, 3, H, W) scaled images -> (B, classes, H, W) logits; H and W are multiples of the patch.

        enlarged: whether logits have the size of the images, or are one for each patch.
        """
        height, width = images.shape[-2:]
        options: dict[str, bool] = {}
        if self.told_to_interpolate and (height, width) != self.pretrained_size:
            options["interpolate_pos_encoding"] = True
        tokens = self.backbone(pixel_values=images, **options).last_hidden_state[:, self.prefix :]
        logits: Tensor = self.head(
            tokens,
            grid=(height // self.patch[0], width // self.patch[1]),
            size=(height, width) if enlarged else None,
        )
        return logits
