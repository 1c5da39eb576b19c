"""SegFormer (Xie 2021): an encoder of four stages without position embeddings, and an all-MLP head."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.files.mask_pixels import IGNORE
from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec
from trainables.tasks import hub
from trainables.tasks.segmenters.family import SegmenterFamily, counted, fixed_multiple, outside_autocast


class Segformer(SegmenterFamily):
    """Logits of a quarter of the image's sides, enlarged bilinearly, and cross-entropy over all pixels."""

    auto = "AutoModelForSemanticSegmentation"
    parts = ("decode_head",)
    classifier = "decode_head.classifier"
    optional_head = "decode_head."
    loss_in_words = "the cross-entropy over all pixels of a batch"

    def resize(self, config: Any, processor: Any, spec: ModelSpec) -> Resize:
        """See `SegmenterFamily`: each stage's map must be filled by the patches that its keys are made of."""
        if not config.reshape_last_stage:
            raise ModelError(
                f"model.name '{spec.name}': reshape_last_stage is false, for which transformers computes the"
                " last stage's sides wrongly; set it to true in its config.json"
            )
        strides = accumulate(config.strides, mul)
        multiple = math.lcm(*(s * r for s, r in zip(strides, config.sr_ratios, strict=True)))
        rule = hub.resize_from(processor, spec, multiple_of=multiple)
        why = "in each stage, patches of keys must fill the map, or the rest would not be seen"
        return fixed_multiple(rule, multiple, spec, why)

    def prepare(self, model: Any) -> None:
        """See `SegmenterFamily`: logits in bfloat16 would be rounded to ties."""
        model.decode_head.classifier = _classifier(model.decode_head.classifier)

    def renew(self, model: Any, labels: tuple[str, ...], *, whole: bool) -> None:
        """See `SegmenterFamily`."""
        if whole:
            fresh = type(model.decode_head)(model.config)
            for module in fresh.modules():
                model._init_weights(module)
            device = next(model.parameters()).device
            model.decode_head = fresh.requires_grad_(False).to(device).eval()
        super().renew(model, labels, whole=whole)
        self.prepare(model)

    def scores(self, found: Any, size: tuple[int, int]) -> Tensor:
        """See `SegmenterFamily`."""
        logits: Tensor = found.logits
        with outside_autocast(logits.device):
            return functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)

    def log_scores(self, scores: Tensor) -> Tensor:
        """See `SegmenterFamily`: they are that already."""
        return scores

    def loss(self, model: Any, images: Tensor, truth: Tensor) -> Tensor:
        """See `SegmenterFamily`. 0 for a batch without a counted pixel, where transformers gives NaN."""
        logits = self.scores(model(pixel_values=images), (truth.shape[-2], truth.shape[-1]))
        lost = functional.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum")
        return lost / counted(truth).sum().clamp(min=1)

    def each_loss(self, model: Any, images: Tensor, truth: Tensor) -> tuple[Tensor, Any]:
        """See `SegmenterFamily`."""
        found = model(pixel_values=images)
        logits = self.scores(found, (truth.shape[-2], truth.shape[-1]))
        lost = functional.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="none")
        return lost.flatten(1).sum(1) / counted(truth).clamp(min=1), found


class _Classifier(nn.Conv2d):
    """A 1×1 convolution outside autocast."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, labels, H, W) float32."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def _classifier(layer: nn.Module) -> nn.Module:
    if type(layer) is nn.Conv2d:
        layer.__class__ = _Classifier
    return layer
