"""EoMT (Kerssies 2025): a plain ViT whose last blocks read queries too; on DINOv2 or DINOv3."""

from __future__ import annotations

from typing import Any

from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec
from trainables.tasks import hub
from trainables.tasks.segmenters.mask_classification import MaskClassification


class Eomt(MaskClassification):
    """See `MaskClassification`."""

    parts = ("class_predictor", "mask_head", "upscale_block")
    training_modules = frozenset({""})  # the model itself: it predicts masks from each of the last blocks

    def resize(self, config: Any, processor: Any, spec: ModelSpec) -> Resize:
        """See `SegmenterFamily`: whole images of the config's size, where its processor pads or cuts them."""
        side, patch = int(config.image_size), int(config.patch_size)
        if side % patch:
            raise ModelError(
                f"model.name '{spec.name}': image_size must be a multiple of the patch, {patch} pixels, got"
                f" {side}, so that rows and columns would not be seen; use another checkpoint"
            )
        if spec.image_size not in (None, (side, side)):
            raise ModelError(
                f"model.image_size: {config.model_type} takes images of the size in its config only, got"
                f" {list(spec.image_size or ())}; use {[side, side]} or remove it"
            )
        return hub.resize_from(processor, spec.model_copy(update={"image_size": (side, side)}))
