"""Mask2Former (Cheng 2022): a backbone, a pixel decoder, and queries that read its maps."""

from __future__ import annotations

from typing import Any

from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec
from trainables.tasks import hub
from trainables.tasks.segmenters.family import fixed_multiple
from trainables.tasks.segmenters.mask_classification import MaskClassification

MULTIPLE = 32
"""The coarsest map of its pixel decoder has one value for each of so many pixels."""


class Mask2Former(MaskClassification):
    """See `MaskClassification`."""

    parts = ("class_predictor", "model.transformer_module.decoder.mask_predictor.mask_embedder")
    masks_at = (384, 384)  # by its processor, whatever the image's size

    def resize(self, config: Any, processor: Any, spec: ModelSpec) -> Resize:
        """See `SegmenterFamily`."""
        rule = hub.resize_from(processor, spec, multiple_of=MULTIPLE)
        if (rule.height, rule.width) == (MULTIPLE, MULTIPLE):
            raise ModelError(
                f"model.image_size: {[MULTIPLE, MULTIPLE]} gives a coarsest map of one value, which cannot be"
                f" normalised; use {[2 * MULTIPLE, 2 * MULTIPLE]}"
            )
        return fixed_multiple(rule, MULTIPLE, spec, "the stride of its coarsest map")
