"""Models that predict a mask and a class for each query, matched with the masks of the classes (Cheng 2022).

The losses are those of transformers, in float32 and outside autocast: its own criterion computes them, at
random points, which are drawn from torch's global generators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.files.mask_pixels import IGNORE
from trainables.errors import ModelError
from trainables.tasks.random_points import same_points
from trainables.tasks.segmenters.family import SegmenterFamily, outside_autocast

_LEAST = 1e-30
"""In place of a score of 0, which has no logarithm."""


class MaskClassification(SegmenterFamily):
    """Scores of a pixel: over all queries, the products of a label's probability and the mask's."""

    auto = "AutoModelForUniversalSegmentation"
    classifier = "class_predictor"
    without_label = 1
    constants = ("criterion.",)
    loss_in_words = "cross-entropy and Dice of matched masks, and cross-entropy of their classes"

    def prepare(self, model: Any) -> None:
        """See `SegmenterFamily`."""
        criterion = model.criterion
        if not isinstance(criterion, _Criterion):
            kind = type(criterion)
            criterion.__class__ = type(f"Float32{kind.__name__}", (_Criterion, kind), {})

    def renew(self, model: Any, labels: tuple[str, ...], *, whole: bool) -> None:
        """See `SegmenterFamily`."""
        super().renew(model, labels, whole=whole)
        kind = type(model.criterion).__mro__[2] if isinstance(model.criterion, _Criterion) else None
        fresh = (kind or type(model.criterion))(model.config, model.weight_dict)
        model.criterion = fresh.to(next(model.parameters()).device).eval()
        self.prepare(model)

    def scores(self, found: Any, size: tuple[int, int]) -> Tensor:
        """See `SegmenterFamily`: `post_process_semantic_segmentation` before it takes the best label."""
        classes, masks = found.class_queries_logits.float(), found.masks_queries_logits.float()
        between = self.masks_at or size
        with outside_autocast(masks.device):
            masks = functional.interpolate(masks, size=between, mode="bilinear", align_corners=False)
            probabilities = classes.softmax(-1)[..., :-1]
            scores = torch.einsum("bqc,bqhw->bchw", probabilities, masks.sigmoid())
            if between == size:
                return scores
            return functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)

    def log_scores(self, scores: Tensor) -> Tensor:
        """See `SegmenterFamily`."""
        return scores.clamp(min=_LEAST).log()

    def loss(self, model: Any, images: Tensor, truth: Tensor) -> Tensor:
        """See `SegmenterFamily`."""
        found: Tensor = model(pixel_values=images, **mask_targets(truth, _labels(model))).loss
        return found

    def each_loss(self, model: Any, images: Tensor, truth: Tensor) -> tuple[Tensor, Any]:
        """See `SegmenterFamily`. Every image's loss is normalised by its own masks."""
        with each_image(model.criterion):
            found = model(pixel_values=images, **mask_targets(truth, _labels(model)))
        return found.loss, found


def mask_targets(truth: Tensor, labels: int) -> dict[str, list[Tensor]]:
    """A mask for each label that an image has, as the processors make them: ignored pixels are in none.

    truth: (B, H, W) int64.  labels: their number. Masks are float32: transformers refuses others on a CPU.
    Raises ModelError for a label outside of 0 to labels − 1, as the one after the last means 'no object'.
    """
    masks, classes = [], []
    for image in truth:
        present = image.unique()
        present = present[present != IGNORE]
        if bool(((present < 0) | (present >= labels)).any()):
            raise ModelError(
                f"the model has {labels} labels, 0 to {labels - 1}, but a mask has {present.tolist()};"
                " prepare the data anew"
            )
        masks.append((image == present.view(-1, 1, 1)).float())
        classes.append(present)
    return {"mask_labels": masks, "class_labels": classes}


def _labels(model: Any) -> int:
    return int(model.config.num_labels)


@contextmanager
def each_image(criterion: Any) -> Iterator[None]:
    """Within the context, the loss has a value for each image, all computed at the same points."""
    criterion.each_image = True
    try:
        yield
    finally:
        criterion.each_image = False


class _Criterion(nn.Module):
    """A criterion in float32 outside autocast, if asked for each image alone."""

    each_image = False
    """Whether each of the losses has one value for each image, computed at the same points in each."""

    def forward(
        self,
        masks_queries_logits: Tensor,
        class_queries_logits: Tensor,
        mask_labels: list[Tensor],
        class_labels: list[Tensor],
        auxiliary_predictions: list[dict[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        device = masks_queries_logits.device
        masks, classes = masks_queries_logits.float(), class_queries_logits.float()
        levels = (
            None if auxiliary_predictions is None else [_as_float32(level) for level in auxiliary_predictions]
        )
        with outside_autocast(device):
            if not self.each_image:
                whole: dict[str, Tensor] = super().forward(masks, classes, mask_labels, class_labels, levels)
                return whole
            found = []
            with _each_image_at_once(self):
                for place in range(len(masks)):
                    part = slice(place, place + 1)
                    own = (
                        None
                        if levels is None
                        else [{k: v[part] for k, v in level.items()} for level in levels]
                    )
                    with same_points(device):
                        found.append(
                            super().forward(
                                masks[part], classes[part], mask_labels[part], class_labels[part], own
                            )
                        )
        return {name: torch.stack([losses[name] for losses in found]) for name in found[0]}


def _as_float32(level: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in level.items()}


@contextmanager
def _each_image_at_once(criterion: _Criterion) -> Iterator[None]:
    """The criterion of transformers calls itself for each level of the decoder."""
    criterion.each_image = False
    try:
        yield
    finally:
        criterion.each_image = True
