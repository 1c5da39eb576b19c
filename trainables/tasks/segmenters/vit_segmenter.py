"""A ViT without its class token, and a head over its patches."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.tasks.segmenters.vits import VIT_FAMILIES, Positions, pair


class Segmenter(nn.Module):
    """A ViT backbone without its class token, and a head; maps images to logits of the same size."""

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        reads: tuple[int, ...] | None = None,
    ) -> None:
        """reads: the blocks whose normalised tokens the head gets; None for the backbone's output."""
        super().__init__()
        self.reads = reads
        self.backbone = backbone
        self.head = head
        config: Any = backbone.config
        family = VIT_FAMILIES[config.model_type]
        self.patch = pair(config.patch_size)
        self.pretrained_size = pair(config.image_size)
        self.prefix = family.prefix(config)
        """The number of tokens before the patch tokens."""
        self.last_norm = family.norm
        """The backbone's last normalisation, its attribute."""
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
        logits: Tensor = self.head(
            self._tokens(images, options),
            grid=(height // self.patch[0], width // self.patch[1]),
            size=(height, width) if enlarged else None,
        )
        return logits

    @property
    def earliest_read(self) -> int | None:
        """The first block whose tokens the head reads, if it reads more than the last block's."""
        return None if self.reads is None else self.reads[0]

    def _tokens(self, images: Tensor, options: dict[str, bool]) -> Tensor:
        """(B, patches, hidden times the number of blocks that the head reads)."""
        if self.reads is None:
            output: Tensor = self.backbone(pixel_values=images, **options).last_hidden_state
            return output[:, self.prefix :]
        # Entry 0 is what the first block gets.
        states = self.backbone(pixel_values=images, output_hidden_states=True, **options).hidden_states
        norm = getattr(self.backbone, self.last_norm)
        found = [
            # A BEiT whose pooling layer normalises has no last norm of its own.
            functional.layer_norm(states[block + 1], states[block + 1].shape[-1:])
            if isinstance(norm, nn.Identity)
            else norm(states[block + 1])
            for block in self.reads
        ]
        return torch.cat(found, dim=-1)[:, self.prefix :]
