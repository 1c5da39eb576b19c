"""Object detection: YOLOS or a DETR variant with its own Hungarian loss, evaluated with COCO metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from trainables.adapters.layout import layout_of
from trainables.data.loader import Batch, eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.metrics.coco import Detections, top_detections
from trainables.metrics.results import Keep
from trainables.specs.metric_class import no_weights
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks import hub
from trainables.tasks.base import (
    RegisteredTask,
    autocast,
    joined,
    pixels,
    split_by_size,
)
from trainables.tasks.class_weights import label_weights
from trainables.tasks.detection_loss import LOSS_GROUP, GroupedLoss, LossSettings, matched_losses
from trainables.tasks.detectors import DetectorFamily, detector_family
from trainables.tasks.head_names import name_labels
from trainables.tasks.labelled_model import FoundLabels, LabelledModel
from trainables.tasks.linear import use_onednn
from trainables.tasks.object_scores import object_scores
from trainables.tasks.own_loss import GroupedOwnLoss, OwnLoss, with_empty_batches
from trainables.tasks.tied_heads import untie
from trainables.tasks.yolos import every_token, without_unread_tokens


@dataclass(frozen=True, kw_only=True)
class DetectionTask(LabelledModel):
    """A worker's detector; see `TaskModel`."""

    task: ClassVar[Task] = Task.DETECTION
    family: DetectorFamily
    own_loss: OwnLoss | None = None
    """The loss that transformers computes; None for one of `detection_loss`."""

    @property
    def packs(self) -> bool:
        """Not with a loss of transformers: its denoising queries depend on all images of a batch."""
        return self.own_loss is None

    def assemble(self, config: TrialConfig, *, share: bool) -> nn.Module:
        """The detector; for unknown classes, the last layer of the classifier is new."""
        if config.loss is not None:
            raise ModelError(f"loss '{config.loss}': {self.task} uses the model's own loss; remove it")
        if config.loss_weights and self.own_loss is not None:
            raise ModelError(f"loss_weights: {no_weights(self.model.config.model_type)}")
        label_weights(self, config)
        self._check_own(config, f"{self.task} uses the model's own")
        model = self._cloned(share=share)
        if self.ids is None:
            self.family.renew(model, len(self.classes))
        self.family.in_float32(model)
        whole: nn.Module = model.eval()
        return whole

    def constant_names(self, model: nn.Module) -> frozenset[str]:
        """What D-FINE's refinement of boxes computes with."""
        return self.family.constant_names(model)

    def training_modules(self, model: nn.Module) -> frozenset[str]:
        """Those that give a loss its denoising queries, its levels or its groups of queries."""
        return self.family.training_modules(model)

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, queries, logits + 4): logits, then boxes as shares of the image, cxcywh."""
        with every_token():
            found = self._forward(model, batch)
        return torch.cat([found.logits, found.pred_boxes], dim=-1)

    def loss(self, model: nn.Module, batch: Batch, config: TrialConfig) -> Tensor:
        """The model's own loss: matched once per image, its box terms a mean over the batch's boxes."""
        return self.lane_losses(model, [batch], [config])[0]

    @cached_property
    def loss_settings(self) -> LossSettings:
        """The weights of the loss, from the checkpoint's config."""
        return LossSettings.of(self.model.config, no_object=self.family.no_object)

    def lane_losses(
        self, model: nn.Module, batches: Sequence[Batch], configs: Sequence[TrialConfig]
    ) -> Tensor:
        """(lanes,) float32; see `TaskModel.lane_losses`. A lane's loss depends on its own images only."""
        targets = [target for batch in batches for target in self._labels(batch)]
        if self.own_loss is not None:
            if len(batches) > 1:
                raise ValueError("a loss of transformers is of one lane")
            kept = self._forward(model, batches[0], labels=targets).loss_dict
            return self.own_loss.of(kept, targets, training=model.training)[None]
        # A model returns the outputs of its decoder's levels only if it is given labels; see `_no_loss`.
        by_level = self.loss_settings.by_level
        outputs = self._forward(model, joined(batches), **({"labels": []} if by_level else {}))
        levels = [(outputs.logits, outputs.pred_boxes)]
        if by_level:
            levels += [(level["logits"], level["pred_boxes"]) for level in outputs.auxiliary_outputs]
        losses = matched_losses(
            torch.cat([logits for logits, _ in levels]) if levels[1:] else outputs.logits,
            torch.cat([boxes for _, boxes in levels]) if levels[1:] else outputs.pred_boxes,
            targets * len(levels),
            lanes=len(levels) * len(batches),
            settings=self.loss_settings,
            weights=label_weights(self, configs[0]),
        )
        found = losses.view(len(levels), len(batches)).sum(0)
        if getattr(self.model.config, "two_stage", False):
            found = found + self._loss_of_proposals(outputs, targets, len(batches))
        return found

    def _loss_of_proposals(self, outputs: Any, targets: list[dict[str, Tensor]], lanes: int) -> Tensor:
        """(lanes,) the loss of a two-stage model's first stage, which transformers leaves out.

        As in Deformable DETR (Zhu 2021, A.4): every cell of the feature maps proposes a box, and its first
        logit says whether there is an object of any class.
        """
        objects = [{**t, "class_labels": torch.zeros_like(t["class_labels"])} for t in targets]
        boxes = outputs.enc_outputs_coord_logits.float().sigmoid()
        logits = outputs.enc_outputs_class
        return matched_losses(logits, boxes, objects, lanes=lanes, settings=self.loss_settings)

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
        """COCO metrics and `loss`, with boxes in original pixels, without a score threshold.

        choose_threshold: add SCORE_THRESHOLD, which no metric uses, if a box is right.
        """
        found: list[Detections] = []
        loss = (
            GroupedLoss(self.loss_settings, label_weights(self, config))
            if self.own_loss is None
            else GroupedOwnLoss(self.own_loss, size=LOSS_GROUP)
        )
        add: Callable[..., None] = loss.add
        truths = [split.truth(i) for i in range(len(split))]
        finite = True
        for batch in eval_batches(split, batch_size=batch_size):
            images: dict[int, tuple[Detections, tuple[Any, ...], dict[str, Tensor]]] = {}
            for piece in split_by_size(batch.to(device)):
                targets = self._labels(piece)
                own = {} if self.own_loss is None else {"labels": targets}
                with autocast(device, precision):
                    out = self._forward(model, piece, **own)
                logits, boxes = out.logits.float(), out.pred_boxes.float()
                finite = finite and self._finite(out)
                detections = self._detections(out, [truths[i] for i in piece.indices])
                parts: list[tuple[Any, ...]] = (
                    list(zip(logits, boxes, strict=True))
                    if self.own_loss is None
                    else [(inputs,) for inputs in self.own_loss.by_image(out.loss_dict, len(logits))]
                )
                rows = zip(detections, parts, targets, strict=True)
                images |= dict(zip(piece.indices, rows, strict=True))
            for index in sorted(images):
                detected, part, target = images[index]
                found.append(detected)
                add(*part, target)
        return object_scores(
            truths,
            found,
            split,
            self.classes,
            self.rules,
            loss=loss.mean,
            finite=finite,
            keep=keep,
            choose_threshold=choose_threshold,
        )

    @cached_property
    def _takes_mask(self) -> bool:
        return "pixel_mask" in inspect.signature(self.model.forward).parameters

    def _forward(self, model: nn.Module, batch: Batch, **options: Any) -> Any:
        images = pixels(batch, self.scale)
        if self._takes_mask:
            options["pixel_mask"] = _pixel_mask(batch)
        return model(pixel_values=images, **options)

    def _labels(self, batch: Batch) -> list[dict[str, Tensor]]:
        """The targets with the checkpoint's label numbers."""
        assert batch.targets is not None
        if self.ids is None:
            return batch.targets
        return [{**t, "class_labels": self.ids[t["class_labels"]]} for t in batch.targets]

    def _finite(self, out: Any) -> bool:
        """Whether all that a model gives is finite."""
        return bool(torch.isfinite(out.logits).all() and torch.isfinite(out.pred_boxes).all())

    def _detections(self, out: Any, truths: list[Any]) -> list[Detections]:
        """Detections, postprocessed as in the model's processor; labels are the data's classes.

        out: of the model.  Of the checkpoint's labels, only those that the data has can be predicted.
        """
        scores, labels, boxes = self.family.scores(out.logits.float(), out.pred_boxes.float(), self.ids)
        size = boxes.new_tensor([[t.width, t.height, t.width, t.height] for t in truths])
        absolute = boxes * size[:, None]
        absolute[..., :2] -= absolute[..., 2:] / 2
        rows = (t.cpu().numpy() for t in (absolute, scores, labels))
        return [top_detections(*image) for image in zip(*rows, strict=True)]


Kind = TypeVar("Kind", bound=DetectionTask)


def load_detector(spec: ModelSpec, classes: tuple[str, ...], device: torch.device) -> DetectionTask:
    """Load a detector and map the data's class names onto its labels. Raises ModelError."""
    return load_as(DetectionTask, "AutoModelForObjectDetection", spec, classes, device)


def load_as(
    kind: type[Kind], auto: str, spec: ModelSpec, classes: tuple[str, ...], device: torch.device
) -> Kind:
    """Load a detector or a model with masks. auto: the class of transformers that loads it."""
    import transformers

    task = kind.task
    config = hub.read_config(spec, task)
    family = detector_family(config, spec, task)
    processor = hub.read_processor(spec, task)
    resized = resize_as(task, config, processor, spec)
    model: Any = hub.read_model(spec, task, getattr(transformers, auto)).to(device)
    use_onednn(model)
    without_unread_tokens(model)
    family.in_float32(model)
    untie(model)
    loss = _own_loss(model, family)
    model.loss_function = _no_loss if loss is None else loss.keep_inputs
    _at_any_size(model)
    known = FoundLabels.of(spec, model.config.id2label, classes, device)
    if known.ids is None:
        name_labels(model, classes)
    return kind(
        model=model,
        family=family,
        classes=classes,
        layout=layout_of(model),
        resize=resized,
        scale=hub.scale_from(processor),
        ids=known.ids,
        labels=known.names,
        own_loss=loss,
        head_fault=known.fault,
    )


def detector_resize(config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule. Raises ModelError for another kind of model, or a size that does not fit it."""
    return resize_as(Task.DETECTION, config, processor, spec)


def resize_as(task: Task, config: Any, processor: Any, spec: ModelSpec) -> Resize:
    """The resize rule of a detector, or of a model with masks; see `detector_resize`."""
    rule = detector_family(config, spec, task).sizes(config)
    resize = hub.resize_from(processor, spec, multiple_of=max(rule.step, rule.rounded_to))
    rule.check(resize, config.model_type, spec)
    return resize


TASK = RegisteredTask(load=load_detector, resize=detector_resize)


def _own_loss(model: Any, family: DetectorFamily) -> OwnLoss | None:
    if not family.own_loss:
        return None
    function = model.loss_function
    if family.masks:
        function = with_empty_batches(function)
    return OwnLoss(function, model.config, frozenset(family.level_first), family.groups, family.draws)


def _at_any_size(model: Any) -> None:
    """Let a model compute anchors and positions for the size of its images, not for one in its config."""
    for part in model.modules():
        if getattr(part, "eval_size", None) is not None:
            part.eval_size = None
    for name in ("anchor_image_size", "eval_size"):
        if getattr(model.config, name, None) is not None:
            setattr(model.config, name, None)


def _pixel_mask(batch: Batch) -> Tensor:
    mask = torch.zeros(
        (len(batch.valid), *batch.images.shape[-2:]), dtype=torch.int64, device=batch.images.device
    )
    for image, (height, width) in zip(mask, batch.valid, strict=True):
        image[:height, :width] = 1
    return mask


def _no_loss(
    logits: Tensor, labels: Any, device: Any, boxes: Tensor, config: Any, classes: Any, coordinates: Any
) -> tuple[None, None, list[dict[str, Tensor]]]:
    """In place of a model's loss function: returns the outputs of the decoder's levels except the last.

    classes, coordinates: (levels, images, queries, …), as models pass them if their `auxiliary_loss` is set.
    """
    levels = zip(classes[:-1], coordinates[:-1], strict=True)
    return None, None, [{"logits": of_level, "pred_boxes": places} for of_level, places in levels]
