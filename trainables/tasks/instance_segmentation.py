"""Instance segmentation: detectors that give each box a mask, with their own loss, evaluated by mask AP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.files.object_masks import encode
from trainables.data.loader import Batch
from trainables.data.resize import Resize
from trainables.metrics.coco import LIMIT, Detections
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import RegisteredTask
from trainables.tasks.detection import DetectionTask, load_as, resize_as

AUTO = "AutoModelForInstanceSegmentation"
"""The class of transformers that loads the models."""
AT_ONCE = 2**24
"""The pixels of enlarged masks that are held at once."""


@dataclass(frozen=True)
class FoundObjects:
    """The best objects of an image, by decreasing score, at most LIMIT.

    scores, labels: (n,).  boxes: (n, 4) cxcywh as shares of the image.  masks: (n, h, w) logits, smaller than
    the image.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class InstanceTask(DetectionTask):
    """A worker's detector with masks; see `TaskModel`."""

    task: ClassVar[Task] = Task.INSTANCE_SEGMENTATION

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, queries, logits + 4 + h · w): logits, boxes as shares of the image, cxcywh, and mask logits."""
        found = self._forward(model, batch)
        return torch.cat([found.logits, found.pred_boxes, found.pred_masks.flatten(2)], dim=-1)

    def objects(self, outputs: Tensor, size: tuple[int, int]) -> list[FoundObjects]:
        """The objects in `outputs`, see there. size: (height, width) of the images as the model sees them."""
        ratio = int(self.model.config.mask_downsample_ratio)
        height, width = size[0] // ratio, size[1] // ratio
        before = outputs.shape[-1] - height * width
        masks = outputs[..., before:].reshape(*outputs.shape[:2], height, width)
        return list(self._best(outputs[..., : before - 4], outputs[..., before - 4 : before], masks))

    def _best(self, logits: Tensor, boxes: Tensor, masks: Tensor) -> Iterator[FoundObjects]:
        """As `post_process_instance_segmentation` chooses queries: the best pairs of a query and a class."""
        rows = zip(*self.family.chosen(logits.float(), self.ids), boxes.float(), masks.float(), strict=True)
        for scores, labels, queries, own_boxes, own_masks in rows:
            best = torch.argsort(scores, descending=True, stable=True)[:LIMIT]
            chosen = queries[best]
            yield FoundObjects(scores[best], labels[best], own_boxes[chosen], own_masks[chosen])

    def _detections(self, out: Any, truths: list[Any]) -> list[Detections]:
        """See `DetectionTask`: with masks in original pixels; they may overlap, and scores are all kept."""
        found = self._best(out.logits, out.pred_boxes, out.pred_masks)
        return [detections_of(each, (t.height, t.width)) for each, t in zip(found, truths, strict=True)]


def detections_of(found: FoundObjects, size: tuple[int, int]) -> Detections:
    """The objects in an image of (height, width) `size`, in its pixels."""
    height, width = size
    boxes = found.boxes * found.boxes.new_tensor([width, height, width, height])
    boxes[:, :2] -= boxes[:, 2:] / 2
    codes = tuple(encode(mask) for mask in enlarged_masks(found.masks, size))
    scores, labels = found.scores.cpu().numpy(), found.labels.cpu().numpy()
    return Detections(boxes.cpu().numpy(), scores, labels, codes, size)


def enlarged_masks(logits: Tensor, size: tuple[int, int]) -> Iterator[np.ndarray[Any, np.dtype[np.bool_]]]:
    """(height, width) bool masks of `size` from (n, h, w) logits: those above 0 after bilinear resizing."""
    for some in torch.split(logits, max(1, AT_ONCE // (size[0] * size[1]))):
        with torch.autocast(some.device.type, enabled=False):
            large = functional.interpolate(some.float()[:, None], size=size, mode="bilinear")[:, 0]
        yield from (large > 0).cpu().numpy()


def load_instances(spec: ModelSpec, classes: tuple[str, ...], device: torch.device) -> InstanceTask:
    """Load a model and map the data's class names onto its labels. Raises ModelError."""
    return load_as(InstanceTask, AUTO, spec, classes, device)


def instance_resize(config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule. Raises ModelError for another kind of model, or a size that does not fit it."""
    return resize_as(Task.INSTANCE_SEGMENTATION, config, processor, spec)


TASK = RegisteredTask(load=load_instances, resize=instance_resize)
