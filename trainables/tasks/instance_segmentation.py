"""Instance segmentation: detectors that give each box a mask, with their own loss, evaluated by mask AP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.data.loader import Batch
from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.metrics.coco import LIMIT, Detections
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub
from trainables.tasks.base import RegisteredTask
from trainables.tasks.detection import DetectionTask, load_as, resize_as
from trainables.tasks.detectors import INSTANCE_FAMILIES
from trainables.tasks.found_objects import FoundObjects, detections_of
from trainables.tasks.segmenters.instances import QUERY_MODELS, QueryTask
from trainables.tasks.segmenters.own_heads import load_headed
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES

AUTO = "AutoModelForInstanceSegmentation"
"""The class of transformers that loads the models."""


@dataclass(frozen=True, kw_only=True)
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

    def _finite(self, out: Any) -> bool:
        return super()._finite(out) and bool(torch.isfinite(out.pred_masks).all())

    def _detections(self, out: Any, truths: list[Any]) -> list[Detections]:
        """See `DetectionTask`: with masks in original pixels; they may overlap, and scores are all kept."""
        found = self._best(out.logits, out.pred_boxes, out.pred_masks)
        return [detections_of(each, (t.height, t.width)) for each, t in zip(found, truths, strict=True)]


def load_instances(
    spec: ModelSpec, classes: tuple[str, ...], device: torch.device
) -> InstanceTask | QueryTask:
    """Load a model and map the data's class names onto its labels. Raises ModelError."""
    config = hub.read_config(spec, Task.INSTANCE_SEGMENTATION)
    _check_known(config, spec)
    if config.model_type in QUERY_MODELS:
        processor = hub.read_processor(spec, Task.INSTANCE_SEGMENTATION)
        return load_headed(QueryTask, spec, classes, device, config, processor)
    return load_as(InstanceTask, AUTO, spec, classes, device)


def instance_resize(config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule. Raises ModelError for another kind of model, or a size that does not fit it."""
    _check_known(config, spec)
    if config.model_type in QUERY_MODELS:
        return SEGMENTER_FAMILIES[config.model_type].resize(config, processor, spec)
    return resize_as(Task.INSTANCE_SEGMENTATION, config, processor, spec)


def _check_known(config: Any, spec: ModelSpec) -> None:
    known = (*INSTANCE_FAMILIES, *QUERY_MODELS)
    if config.model_type not in known:
        raise ModelError(
            f"model.name '{spec.name}' is a {config.model_type} checkpoint; {Task.INSTANCE_SEGMENTATION} "
            f"supports {', '.join(known)}"
        )


TASK = RegisteredTask(load=load_instances, resize=instance_resize)
