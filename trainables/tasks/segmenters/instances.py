"""Masks of single objects by the queries of Mask2Former (Cheng 2022), with its loss, scored by mask AP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.loader import Batch, eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.metrics.coco import LIMIT, Detections
from trainables.metrics.results import Keep
from trainables.specs.trial import Precision, TrialConfig
from trainables.tasks.base import autocast, pixels, split_by_size
from trainables.tasks.found_objects import FoundObjects, detections_of
from trainables.tasks.object_scores import object_scores
from trainables.tasks.segmenters.mask_classification import each_image
from trainables.tasks.segmenters.own_heads import ModelWithHead

QUERY_MODELS = frozenset({"mask2former"})
"""The model types."""
BETWEEN = (384, 384)
"""The size at which the processor decides what is in a mask, whatever the image's size."""


@dataclass(frozen=True, kw_only=True)
class QueryTask(ModelWithHead):
    """A worker's model; see `TaskModel`."""

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, queries, labels + 1 + h · w): logits of labels and 'no object', and mask logits."""
        return query_outputs(model(pixel_values=pixels(batch, self.scale)))

    def objects(self, outputs: Tensor, size: tuple[int, int]) -> list[FoundObjects]:
        """The objects in `outputs`, see there. size: (height, width) of the images as the model sees them."""
        labels = int(self.model.config.num_labels) + 1 if self.ids is not None else len(self.classes) + 1
        side = math.isqrt((outputs.shape[-1] - labels) * size[0] // size[1])
        masks = outputs[..., labels:].reshape(*outputs.shape[:2], side, -1)
        return list(self._best(outputs[..., :labels], masks))

    def _best(self, logits: Tensor, masks: Tensor) -> Iterator[FoundObjects]:
        """As `post_process_instance_segmentation` chooses and scores queries, without a threshold."""
        with torch.autocast(logits.device.type, enabled=False):
            known = logits.float().softmax(-1)[..., :-1]
            known = known if self.ids is None else known[..., self.ids]
            queries, classes = known.shape[-2:]
            for own, small in zip(known, masks.float(), strict=True):
                scores, best = own.flatten().topk(queries)
                large = functional.interpolate(small[None], size=BETWEEN, mode="bilinear")[0]
                sure = _mean_inside(large)[best // classes]
                order = torch.argsort(scores * sure, descending=True, stable=True)[:LIMIT]
                chosen = large[(best // classes)[order]]
                yield FoundObjects((scores * sure)[order], (best % classes)[order], None, chosen, True)

    def loss(self, model: nn.Module, batch: Batch, config: TrialConfig) -> Tensor:
        """The model's own loss, as transformers computes it for a batch."""
        found: Tensor = model(pixel_values=pixels(batch, self.scale), **self._labels(batch)).loss
        return found.squeeze()

    def evaluate(
        self,
        model: nn.Module,
        split: PreparedSplit,
        *,
        batch_size: int,
        device: torch.device,
        precision: Precision,
        config: TrialConfig,
        keep: Keep | None = None,
        choose_threshold: bool = False,
    ) -> dict[str, float]:
        """COCO metrics of masks in original pixels, and `loss`, a mean over images."""
        truths = [split.truth(i) for i in range(len(split))]
        found: dict[int, Detections] = {}
        losses: dict[int, float] = {}
        finite = True
        for batch in eval_batches(split, batch_size=batch_size):
            for piece in split_by_size(batch.to(device)):
                with autocast(device, precision), each_image(model.criterion):
                    out: Any = model(pixel_values=pixels(piece, self.scale), **self._labels(piece))
                logits, masks = out.class_queries_logits, out.masks_queries_logits
                finite = finite and bool(torch.isfinite(logits).all() and torch.isfinite(masks).all())
                losses |= dict(zip(piece.indices, out.loss.flatten().tolist(), strict=True))
                rows = zip(piece.indices, self._best(logits, masks), strict=True)
                for index, each in rows:
                    found[index] = detections_of(each, (truths[index].height, truths[index].width))
        return object_scores(
            truths,
            [found[index] for index in range(len(split))],
            split,
            self.classes,
            self.rules,
            loss=lambda: sum(losses[index] for index in sorted(losses)) / len(losses),
            finite=finite,
            keep=keep,
            choose_threshold=choose_threshold,
        )

    def _labels(self, batch: Batch) -> dict[str, list[Tensor]]:
        """The targets as the processors make them. Raises ModelError for a label that the model lacks."""
        assert batch.targets is not None
        classes = [target["class_labels"] for target in batch.targets]
        known = len(self.classes)
        for image in classes:  # the one after the last means 'no object'
            if bool(((image < 0) | (image >= known)).any()):
                raise ModelError(
                    f"the data have {known} classes, 0 to {known - 1}, but an image has {image.tolist()};"
                    " prepare the data anew"
                )
        # transformers refuses other masks than float32 on a CPU.
        masks = [target["masks"].float() for target in batch.targets]
        numbers = classes if self.ids is None else [self.ids[image] for image in classes]
        return {"mask_labels": masks, "class_labels": numbers}


def query_outputs(found: Any) -> Tensor:
    """(B, queries, labels + 1 + h · w) of a model's output."""
    return torch.cat([found.class_queries_logits, found.masks_queries_logits.flatten(2)], dim=-1)


def _mean_inside(logits: Tensor) -> Tensor:
    """(n,) the mean probability of the pixels that are in each of (n, h, w) masks."""
    inside = (logits > 0).float().flatten(1)
    return (logits.sigmoid().flatten(1) * inside).sum(1) / (inside.sum(1) + 1e-6)
