"""Semantic segmentation by models with heads and losses of their own, scored like all segmenters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainables.adapters.layout import layout_of
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.loader import Batch
from trainables.data.prepared import PreparedSplit
from trainables.errors import ModelError
from trainables.metrics.results import Keep
from trainables.specs.metric_class import no_weights
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import ModelSpec
from trainables.tasks import hub
from trainables.tasks.base import pixels
from trainables.tasks.head_names import name_labels
from trainables.tasks.labelled_model import FoundLabels, LabelledModel
from trainables.tasks.linear import use_onednn
from trainables.tasks.segmenters.family import SegmenterFamily
from trainables.tasks.segmenters.registry import SEGMENTER_FAMILIES
from trainables.tasks.segmenters.scoring import Scored, mask_scores
from trainables.tasks.tied_heads import untie


@dataclass(frozen=True, kw_only=True)
class ModelWithHead(LabelledModel, ABC):
    """A worker's model of a `SegmenterFamily`, without what its masks mean; see `TaskModel`."""

    family: SegmenterFamily
    has_head: bool
    """Whether the checkpoint has a head, for whatever labels."""

    @property
    def packs(self) -> bool:
        """No: heads read more than tokens, and losses draw the points at which they are computed."""
        return False

    def assemble(self, config: TrialConfig, *, share: bool) -> nn.Module:
        """The segmenter; for unknown classes, the last layer of its head is new."""
        kind = self.model.config.model_type
        if config.loss is not None:
            raise ModelError(
                f"loss '{config.loss}': {kind} uses its own loss, {self.family.loss_in_words}; remove it"
            )
        if config.loss_weights:
            raise ModelError(f"loss_weights: {no_weights(kind)}")
        self._check_own(
            config, f"{kind} uses its own", None if self.has_head else "the checkpoint has no head"
        )
        model = self._cloned(share=share)
        if self.ids is None:
            self.family.renew(model, self.classes, whole=not self.has_head)
        whole: nn.Module = model.eval()
        return whole

    def constant_names(self, model: nn.Module) -> frozenset[str]:
        """None."""
        return frozenset()

    def training_modules(self, model: nn.Module) -> frozenset[str]:
        """Those of the family that compute terms of the loss in training only."""
        return self.family.training_modules

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, config: TrialConfig) -> Tensor:
        """See `TaskModel`."""

    def lane_losses(
        self, model: nn.Module, batches: Sequence[Batch], configs: Sequence[TrialConfig]
    ) -> Tensor:
        """(1,) the loss of the only lane. Raises ValueError for several, see `packs`."""
        if len(batches) != 1:
            raise ValueError(f"{type(self.model).__name__} computes the loss of one trial at a time")
        return self.loss(model, batches[0], configs[0]).unsqueeze(0)


@dataclass(frozen=True, kw_only=True)
class OwnHeadTask(ModelWithHead):
    """A worker's segmenter; see `TaskModel`."""

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, classes, H, W) float32 scores, as the family's processor computes them."""
        return self.class_scores(model, pixels(batch, self.scale))

    def class_scores(self, model: nn.Module, images: Tensor) -> Tensor:
        """(B, 3, H, W) scaled images -> (B, classes, H, W) float32 scores."""
        return self._of_classes(self.family.scores(model(pixel_values=images), _size(images)))

    @property
    def scored_by(self) -> dict[str, Any]:
        """What an exported model needs to know for `class_scores`, as JSON."""
        labels = range(len(self.classes)) if self.ids is None else self.ids.tolist()
        return {
            "classes": list(self.classes),
            "labels": list(labels),
            "auto": self.family.auto,
            "masks_at": self.family.masks_at,
        }

    def loss(self, model: nn.Module, batch: Batch, config: TrialConfig) -> Tensor:
        """The model's own loss, as transformers computes it for a batch."""
        assert batch.masks is not None
        return self.family.loss(model, pixels(batch, self.scale), self._truth(batch.masks))

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
        """Dice and IoU over all pixels at mask resolution, `soft_dice`, and `loss`, a mean over images."""

        def scored(piece: Batch) -> Scored:
            assert piece.masks is not None
            images = pixels(piece, self.scale)
            losses, found = self.family.each_loss(model, images, self._truth(piece.masks))
            scores = self._of_classes(self.family.scores(found, _size(images)))
            return Scored(scores, self.family.log_scores(scores), losses)

        return mask_scores(
            scored,
            split,
            self.classes,
            self.rules,
            batch_size=batch_size,
            device=device,
            precision=precision,
            keep=keep,
        )

    def _truth(self, masks: Tensor) -> Tensor:
        """(B, H, W) int64 labels of the model; IGNORE for pixels that do not count."""
        if self.ids is None:
            return masks.long()
        # A value that is no class stays past the labels, so that a loss finds it.
        table = torch.full((IGNORE + 1,), len(self.labels), dtype=torch.int64, device=masks.device)
        table[: len(self.ids)], table[IGNORE] = self.ids.to(masks.device), IGNORE
        return table[masks.long()]

    def _of_classes(self, scores: Tensor) -> Tensor:
        """Of the checkpoint's labels, only those that the data has can be predicted."""
        return scores if self.ids is None else scores[:, self.ids]


Kind = TypeVar("Kind", bound=ModelWithHead)


def load_headed(
    kind: type[Kind],
    spec: ModelSpec,
    classes: tuple[str, ...],
    device: torch.device,
    config: Any,
    processor: Any,
) -> Kind:
    """Load a model and map the data's class names onto its labels. Raises ModelError.

    config: the checkpoint's, of a model type in `SEGMENTER_FAMILIES`.
    """
    family = SEGMENTER_FAMILIES[config.model_type]
    resized = family.resize(config, processor, spec)
    model, has_head = family.load(spec)
    model.to(device)
    use_onednn(model)
    family.prepare(model)
    untie(model)
    known = FoundLabels.of(spec, model.config.id2label if has_head else {}, classes, device)
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
        has_head=has_head,
        head_fault=known.fault,
    )


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
