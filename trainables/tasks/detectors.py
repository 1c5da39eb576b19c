"""The detector families: where their heads are, what their scores mean, and how a head is replaced.

All accept the same labels, return `logits` and `pred_boxes`, and have their own Hungarian loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec, Task
from trainables.tasks.base import tensors_of
from trainables.tasks.detector_sizes import (
    SideRule,
    any_size,
    deformable_sizes,
    patch_sizes,
    pyramid_sizes,
    windowed_sizes,
)

PRIOR = 0.01
"""A new sigmoid's score of each class before training, as focal loss requires (Lin 2017)."""


@dataclass(frozen=True)
class DetectorFamily:
    """The properties of a model type. Modules are named from the model with its head; some may be absent.

    no_object: scores are a softmax with 'no object' last; otherwise a sigmoid for each class.
    classifiers, boxes: the head: modules, or lists of them for each decoder level or group of queries. The
    first of each gives the model's outputs.  class_embeddings: those with a row for each class and one more,
    from which denoising queries are made.  xavier: how transformers initialises a new classifier.
    constants: parameters that never train.  masks: the mask head's modules, and parameters without a module.
    in_training: modules that compute something else in training, apart from dropout, as a loss requires; `*`
    stands for a number.
    best_queries: the processor keeps as many detections as there are queries; otherwise 100.
    own_loss: the loss is computed by transformers, see `own_loss`.  level_first, draws: see `OwnLoss`.
    groups: training has several groups of queries.
    sizes: what image sides the model takes, from its config.
    """

    no_object: bool
    classifiers: tuple[str, ...] = ("class_labels_classifier",)
    boxes: tuple[str, ...] = ("bbox_predictor",)
    class_embeddings: tuple[str, ...] = ()
    xavier: bool = False
    constants: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    in_training: tuple[str, ...] = ()
    best_queries: bool = False
    own_loss: bool = False
    level_first: tuple[str, ...] = ()
    groups: bool = False
    draws: bool = False
    sizes: Callable[[Any], SideRule] = any_size

    def outputs(self, classes: int) -> int:
        """The number of logits for this number of classes."""
        return classes + 1 if self.no_object else classes

    def scores(self, logits: Tensor, boxes: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(images, detections) scores, labels, and their boxes, computed as in the family's processor.

        ids: the labels that can be predicted; all when absent. With 'no object', a query gives its
        best class; with sigmoids, every class of every query is a detection.
        """
        scores, labels, queries = self.chosen(logits, ids)
        return scores, labels, boxes.gather(1, queries.unsqueeze(-1).expand(-1, -1, 4))

    def chosen(self, logits: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(images, detections) scores, labels, and the queries that give them; see `scores`."""
        known = logits.softmax(-1)[..., :-1] if self.no_object else logits.sigmoid()
        known = known if ids is None else known[..., ids]
        queries, classes = known.shape[-2:]
        if self.no_object:
            scores, labels = known.max(-1)
            return scores, labels, torch.arange(queries, device=logits.device).expand(len(known), -1)
        if not self.best_queries:
            labels = torch.arange(classes, device=logits.device).repeat(queries)
            places = torch.arange(queries, device=logits.device).repeat_interleave(classes)
            return known.flatten(1), labels.expand(len(known), -1), places.expand(len(known), -1)
        scores, best = known.flatten(1).topk(queries, dim=1)
        return scores, best % classes, best // classes

    def head_modules(self, model: Any) -> list[nn.Module]:
        """The modules of the head; a list counts as one."""
        names = (*self.classifiers, *self.boxes, *self.class_embeddings, *self.masks)
        return list(_present(model, names))

    def head_tensors(self, model: Any) -> list[Tensor]:
        """Parameters and buffers of the head."""
        held = [tensor for module in self.head_modules(model) for tensor in tensors_of(module)]
        return held + [model.get_parameter(name) for name in self.bare_names(model)]

    def bare_names(self, model: Any) -> list[str]:
        """The parameters of the head that belong to no module of it."""
        own = {name for name, _ in model.named_parameters()}
        return [name for name in self.masks if name in own]

    def in_float32(self, model: Any) -> None:
        """Let the head compute in float32 also under autocast; parameters and names do not change."""
        for part in _present(model, (*self.classifiers, *self.boxes)):
            for module in _levels(part):
                if not isinstance(module, _Float32):
                    module.__class__ = type(f"Float32{type(module).__name__}", (_Float32, type(module)), {})

    def renew(self, model: Any, classes: int) -> None:
        """Give the classifiers new last layers for `classes` classes, initialised as in transformers."""
        fresh: dict[int, nn.Module] = {}
        """The new layers, by the weights of the old ones."""
        for part in _present(model, self.classifiers):
            for level in _levels(part):
                last = [module for module in level.modules() if isinstance(module, nn.Linear)][-1]
                if id(last.weight) not in fresh:  # levels may share one layer
                    fresh[id(last.weight)] = self._layer(last, classes, model.config).to(last.weight.device)
        for part in _present(model, self.class_embeddings):
            assert isinstance(part, nn.Embedding)
            fresh[id(part.weight)] = _embedding(part, classes).to(part.weight.device)
        # A layer may have several names: a decoder that refines boxes has its own list of the heads.
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                new = fresh.get(id(getattr(child, "weight", None)))
                if new is not None:
                    setattr(parent, name, new)

    def constant_names(self, model: nn.Module) -> frozenset[str]:
        """The parameters that never train."""
        return frozenset(name for name, _ in model.named_parameters() if name in self.constants)

    def training_modules(self, model: nn.Module) -> frozenset[str]:
        """The modules that stay in training mode in training, also if they are frozen; see `in_training`."""
        wanted = set(self.in_training)
        return frozenset(name for name, _ in model.named_modules() if _numbered(name) in wanted)

    def _layer(self, last: nn.Linear, classes: int, config: Any) -> nn.Linear:
        layer = nn.Linear(last.in_features, self.outputs(classes)).requires_grad_(False)
        if self.xavier:
            nn.init.xavier_uniform_(layer.weight)
            prior = getattr(config, "initializer_bias_prior_prob", None) or 1 / (classes + 1)
        else:
            std = getattr(config, "initializer_range", None) or getattr(config, "init_std", None) or 0.02
            nn.init.normal_(layer.weight, std=float(std))
            prior = PRIOR
        nn.init.constant_(layer.bias, 0.0 if self.no_object else -math.log((1 - prior) / prior))
        return layer


_SWITCHED = ("", "model")
_RT_DETR = DetectorFamily(
    no_object=False,
    classifiers=("model.decoder.class_embed", "class_embed", "model.enc_score_head"),
    boxes=("model.decoder.bbox_embed", "bbox_embed", "model.enc_bbox_head"),
    class_embeddings=("model.denoising_class_embed",),
    xavier=True,
    in_training=_SWITCHED,
    best_queries=True,
    own_loss=True,
    sizes=pyramid_sizes,
)
_D_FINE = DetectorFamily(
    no_object=False,
    classifiers=_RT_DETR.classifiers,
    boxes=(*_RT_DETR.boxes, "model.decoder.pre_bbox_head", "model.decoder.lqe_layers"),
    class_embeddings=_RT_DETR.class_embeddings,
    xavier=True,
    constants=("model.decoder.up", "model.decoder.reg_scale"),
    in_training=(*_SWITCHED, "model.decoder"),
    best_queries=True,
    own_loss=True,
    sizes=pyramid_sizes,
)


def _group_detr(sizes: Callable[[Any], SideRule], *, best_queries: bool) -> DetectorFamily:
    return DetectorFamily(
        no_object=False,
        classifiers=("class_embed", "model.enc_out_class_embed"),
        boxes=("bbox_embed", "model.enc_out_bbox_embed"),
        in_training=(*_SWITCHED, "model.decoder.layers.*.self_attn"),
        best_queries=best_queries,
        own_loss=True,
        level_first=("outputs_class", "outputs_coord"),
        groups=True,
        sizes=sizes,
    )


DETECTOR_FAMILIES = {
    "yolos": DetectorFamily(no_object=True, sizes=lambda config: SideRule(rounded_to=16)),
    "detr": DetectorFamily(no_object=True),
    "table-transformer": DetectorFamily(no_object=True),
    "conditional_detr": DetectorFamily(no_object=False),
    "dab-detr": DetectorFamily(
        no_object=False,
        classifiers=("class_embed",),
        boxes=("bbox_predictor", "model.decoder.bbox_embed"),
    ),
    "deformable_detr": DetectorFamily(
        no_object=False,
        classifiers=("class_embed", "model.decoder.class_embed"),
        boxes=("bbox_embed", "model.decoder.bbox_embed"),
        sizes=deformable_sizes,
    ),
    "rt_detr": _RT_DETR,
    "rt_detr_v2": _RT_DETR,
    "d_fine": _D_FINE,
    "deimv2": _D_FINE,
    "lw_detr": _group_detr(patch_sizes, best_queries=False),
    "rf_detr": _group_detr(windowed_sizes, best_queries=True),
}
"""The families by `model_type`."""


INSTANCE_FAMILIES = {
    "rf_detr": DetectorFamily(
        no_object=False,
        classifiers=("model.class_embed", "model.model.enc_out_class_embed"),
        boxes=("model.bbox_embed", "model.model.enc_out_bbox_embed"),
        masks=(
            "blocks",
            "spatial_features_proj",
            "query_features_block",
            "query_features_proj",
            "segmentation_bias",
        ),
        in_training=(*_SWITCHED, "model.model", "model.model.decoder.layers.*.self_attn"),
        best_queries=True,
        own_loss=True,
        level_first=("outputs_class", "outputs_coord"),
        groups=True,
        draws=True,
        sizes=windowed_sizes,
    ),
}
"""Detectors that give a mask for each box, by `model_type`."""


def detector_family(config: Any, spec: ModelSpec, task: Task = Task.DETECTION) -> DetectorFamily:
    """The family of a checkpoint. Raises ModelError for another kind of model."""
    families = INSTANCE_FAMILIES if task.facts.instances else DETECTOR_FAMILIES
    family = families.get(config.model_type)
    if family is None:
        raise ModelError(
            f"model.name '{spec.name}' is a {config.model_type} checkpoint; "
            f"{task} supports {', '.join(families)}"
        )
    if config.model_type == "yolos" and getattr(config, "auxiliary_loss", False):
        raise ModelError(
            f"model.name '{spec.name}': a YOLOS with auxiliary_loss cannot compute a loss in transformers;"
            " set auxiliary_loss to false in its config.json"
        )
    return family


def _present(model: Any, names: tuple[str, ...]) -> Iterator[nn.Module]:
    """The modules with these names, each once."""
    seen: set[int] = set()
    for name in names:
        module = model
        for part in name.split("."):
            module = getattr(module, part, None)
        if isinstance(module, nn.Module) and id(module) not in seen:
            seen.add(id(module))
            yield module


def _levels(part: nn.Module) -> Iterator[nn.Module]:
    if isinstance(part, nn.ModuleList):
        yield from part
    else:
        yield part


def _numbered(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _embedding(old: nn.Embedding, classes: int) -> nn.Embedding:
    made = nn.Embedding(classes + 1, old.embedding_dim, padding_idx=classes).requires_grad_(False)
    nn.init.xavier_uniform_(made.weight)
    return made


class _Float32(nn.Module):
    """A module outside autocast: a box in bfloat16 would be wrong by pixels."""

    def forward(self, *given: Tensor) -> Tensor:
        values = [tensor.float() for tensor in given]
        if not torch.is_autocast_enabled(values[0].device.type):
            plain: Tensor = super().forward(*values)
            return plain
        with torch.autocast(values[0].device.type, enabled=False):
            out: Tensor = super().forward(*values)
        return out
