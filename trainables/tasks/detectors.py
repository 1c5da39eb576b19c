"""The detector families: where their heads are, what their scores mean, and how a head is replaced.

All accept the same labels, return `logits` and `pred_boxes`, and have their own Hungarian loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec
from trainables.tasks.base import tensors_of

PRIOR = 0.01
"""A new sigmoid's score of each class before training, as focal loss requires (Lin 2017)."""


@dataclass(frozen=True)
class DetectorFamily:
    """The properties of a model type.

    classifier, boxes: attributes of the model with its head, one module or one for each decoder level.
    no_object: scores are a softmax with 'no object' last; otherwise a sigmoid for each class.
    multiple_of: the processor rounds sides down to a multiple of this.
    """

    no_object: bool
    classifier: str = "class_labels_classifier"
    boxes: str = "bbox_predictor"
    multiple_of: int = 1

    def outputs(self, classes: int) -> int:
        """The number of logits for this number of classes."""
        return classes + 1 if self.no_object else classes

    def scores(self, logits: Tensor, boxes: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(images, detections) scores, labels, and their boxes, computed as in the family's processor.

        ids: the labels that can be predicted; all when absent. With 'no object', a query gives its
        best class; with sigmoids, every class of every query is a detection.
        """
        known = logits.softmax(-1)[..., :-1] if self.no_object else logits.sigmoid()
        known = known if ids is None else known[..., ids]
        if self.no_object:
            scores, labels = known.max(-1)
            return scores, labels, boxes
        classes = known.shape[-1]
        labels = torch.arange(classes, device=logits.device).repeat(boxes.shape[1])
        return known.flatten(1), labels.expand(len(known), -1), boxes.repeat_interleave(classes, dim=1)

    def head(self, model: Any) -> list[Tensor]:
        """Parameters and buffers of the head."""
        return [t for name in (self.classifier, self.boxes) for t in tensors_of(getattr(model, name))]

    def in_float32(self, model: Any) -> None:
        """Let the head compute in float32 also under autocast; parameters and names do not change."""
        decoder = getattr(getattr(model, "model", None), "decoder", None)
        for part in (
            getattr(model, self.classifier),
            getattr(model, self.boxes),
            # The decoder refines the boxes from level to level with the head's weights.
            getattr(decoder, "bbox_embed", None),
        ):
            for module in _levels(part):
                if not isinstance(module, _Float32):
                    module.__class__ = type(f"Float32{type(module).__name__}", (_Float32, type(module)), {})

    def renew(self, model: Any, classes: int) -> None:
        """Give the classifier a new last layer for `classes` classes, initialised as in transformers."""
        old = getattr(model, self.classifier)
        fresh: dict[int, nn.Module] = {}
        levels = []
        for level in _levels(old):
            name, last = [(n, m) for n, m in level.named_modules() if isinstance(m, nn.Linear)][-1]
            if id(last.weight) not in fresh:  # levels may share one layer
                fresh[id(last.weight)] = self._layer(last, classes, model.config).to(last.weight.device)
            levels.append(_replaced(level, name, fresh[id(last.weight)]))
        renewed = nn.ModuleList(levels) if isinstance(old, nn.ModuleList) else levels[0]
        setattr(model, self.classifier, renewed)

    def _layer(self, last: nn.Linear, classes: int, config: Any) -> nn.Linear:
        layer = nn.Linear(last.in_features, self.outputs(classes)).requires_grad_(False)
        std = getattr(config, "initializer_range", None) or getattr(config, "init_std", None) or 0.02
        nn.init.normal_(layer.weight, std=float(std))
        nn.init.constant_(layer.bias, 0.0 if self.no_object else -math.log((1 - PRIOR) / PRIOR))
        return layer


DETECTOR_FAMILIES = {
    "yolos": DetectorFamily(no_object=True, multiple_of=16),
    "detr": DetectorFamily(no_object=True),
    "table-transformer": DetectorFamily(no_object=True),
    "conditional_detr": DetectorFamily(no_object=False),
    "dab-detr": DetectorFamily(no_object=False, classifier="class_embed"),
    "deformable_detr": DetectorFamily(no_object=False, classifier="class_embed", boxes="bbox_embed"),
}
"""The families by `model_type`."""


def detector_family(config: Any, spec: ModelSpec) -> DetectorFamily:
    """The family of a checkpoint. Raises ModelError for another kind of model."""
    family = DETECTOR_FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"model.name '{spec.name}' is a {config.model_type} checkpoint; "
            f"detection supports {', '.join(DETECTOR_FAMILIES)}"
        )
    if getattr(config, "two_stage", False):
        raise ModelError(
            f"model.name '{spec.name}' is a two-stage {config.model_type} checkpoint, but the loss in "
            "transformers does not train its proposals; use a one-stage checkpoint"
        )
    if config.model_type == "yolos" and getattr(config, "auxiliary_loss", False):
        raise ModelError(
            f"model.name '{spec.name}': a YOLOS with auxiliary_loss cannot compute a loss in transformers;"
            " set auxiliary_loss to false in its config.json"
        )
    return family


def _levels(part: nn.Module | None) -> Iterator[nn.Module]:
    if isinstance(part, nn.ModuleList):
        yield from part
    elif part is not None:
        yield part


def _replaced(module: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """`module` with `layer` as its submodule `name`; `layer` itself if `name` is the whole module."""
    if not name:
        return layer
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, layer)
    return module


class _Float32(nn.Module):
    """A module outside autocast: a box in bfloat16 would be wrong by pixels."""

    def forward(self, tokens: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(tokens.device.type):
            plain: Tensor = super().forward(tokens.float())
            return plain
        with torch.autocast(tokens.device.type, enabled=False):
            out: Tensor = super().forward(tokens.float())
        return out
