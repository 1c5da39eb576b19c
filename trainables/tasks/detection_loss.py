"""The losses of DETR and of Deformable DETR as transformers defines them, for several trials in one go.

`ForObjectDetectionLoss` of transformers builds a matcher and a criterion for every call, works image by image
and computes numbers that are only logged. Here the same value, and the same gradients, come from tensors of
one shape for all images: every query has a target box, and the weight of an unmatched query's box is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.tasks.matching import FOCAL_GAMMA, MatchCosts, Truth, giou, match
from trainables.wording import plural


@dataclass(frozen=True)
class LossSettings:
    """The weights in a detector's loss, from its config.

    costs: of a match.  distance, overlap: of the L1 and the GIoU loss of a box.  absent: of 'no object'
    in the cross-entropy.  alpha: of the focal loss, where scores are sigmoids.  by_level: whether the loss
    is a sum over the decoder's levels.
    """

    costs: MatchCosts
    distance: float
    overlap: float
    absent: float
    alpha: float
    by_level: bool

    @classmethod
    def of(cls, config: Any, *, no_object: bool) -> LossSettings:
        """The settings of a checkpoint. no_object: whether its scores are a softmax with 'no object'."""
        return cls(
            costs=MatchCosts(no_object, config.class_cost, config.bbox_cost, config.giou_cost),
            distance=config.bbox_loss_coefficient,
            overlap=config.giou_loss_coefficient,
            absent=config.eos_coefficient if no_object else 0.0,
            alpha=0.0 if no_object else config.focal_alpha,
            by_level=bool(config.auxiliary_loss),
        )


def matched_losses(
    logits: Tensor,
    boxes: Tensor,
    targets: list[dict[str, Tensor]],
    *,
    lanes: int,
    settings: LossSettings,
    weights: Tensor | None = None,
) -> Tensor:
    """(lanes,) float32: for each lane, the loss of its images alone; they are stacked lane by lane.

    logits: (lanes · images, queries, classes).  boxes: the same with 4, cxcywh as shares of the image.
    targets: as in a batch, of all images.  A lane's loss and gradients do not depend on the other lanes, to
    the bit, and are NaN if one of its outputs is not finite. Equal to transformers' loss in one process; with
    `accelerate`, that divides by the boxes of all processes.
    weights: (classes,) float32 by label. The classification loss of a query that is matched with an object
    counts as often as its class weighs; a cross-entropy is then a weighted mean, as in torch.
    """
    if len(logits) != len(targets) or len(logits) % lanes:
        raise ValueError(
            f"{plural(lanes, 'lane')} of equal size must hold all images, got outputs of "
            f"{plural(len(logits), 'image')} and targets of {len(targets)}"
        )
    logits, boxes = logits.float(), boxes.float()
    nothing = logits.shape[-1] - (1 if settings.costs.no_object else 0)
    truth = Truth.of(targets, nothing=nothing)
    box = match(logits, boxes, truth, settings.costs)
    # From here on no shape depends on the number of boxes, so that sums run in one order for any partners.
    label, target, matched = truth.labels[box], truth.boxes[box], box < sum(truth.counts)
    found, each = boxes.flatten(0, 1), _boxes_by_lane(truth, lanes).to(boxes.device)
    distance = (found - target).abs().sum(-1)
    by_query = settings.distance * distance + settings.overlap * (1 - giou(found, target))
    losses = _by_lane(by_query * matched, lanes) / each
    own = None if weights is None else torch.cat([weights, weights.new_ones(1)])[label]
    if settings.costs.no_object:
        weight = torch.where(matched, 1.0 if own is None else own, settings.absent)
        losses = losses + _cross_entropy(logits.flatten(0, 1), label, weight, lanes)
    else:
        losses = losses + _focal(logits.flatten(0, 1), label, lanes, settings.alpha, own) / each
    return losses * _one_if_finite(logits, boxes, lanes)


def _by_lane(values: Tensor, lanes: int) -> Tensor:
    """(lanes,) sums of values that are stacked lane by lane."""
    return values.reshape(lanes, -1).sum(1)


def _boxes_by_lane(truth: Truth, lanes: int) -> Tensor:
    """(lanes,) float32: the number of boxes of each lane, at least 1."""
    counts = np.reshape(truth.counts, (lanes, -1)).sum(axis=1)
    return torch.from_numpy(np.maximum(counts, 1).astype(np.float32))


def _cross_entropy(logits: Tensor, label: Tensor, weight: Tensor, lanes: int) -> Tensor:
    """(lanes,) means over the queries of a lane. weight: of each query."""
    each = functional.cross_entropy(logits, label, reduction="none")
    return _by_lane(each * weight, lanes) / _by_lane(weight, lanes)


def _focal(logits: Tensor, label: Tensor, lanes: int, alpha: float, by_query: Tensor | None) -> Tensor:
    """(lanes,) sums of the focal loss (Lin 2017) over queries and classes; a label past the last is none.

    by_query: (queries,) what the loss of each query is multiplied by.
    """
    wanted = functional.one_hot(label, logits.shape[-1] + 1)[:, :-1].to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    score = logits.sigmoid()
    right = score * wanted + (1 - score) * (1 - wanted)
    weight = alpha * wanted + (1 - alpha) * (1 - wanted) if alpha >= 0 else torch.ones_like(wanted)
    each = weight * entropy * (1 - right) ** FOCAL_GAMMA
    return _by_lane(each if by_query is None else each * by_query[:, None], lanes)


@torch.no_grad()
def _one_if_finite(logits: Tensor, boxes: Tensor, lanes: int) -> Tensor:
    """(lanes,) 1, or NaN for a lane with an output that is not finite, which matching alone may hide."""
    return 1 + _by_lane(0 * logits, lanes) + _by_lane(0 * boxes, lanes)


LOSS_GROUP = 16
"""The group size of the evaluation loss, in images: the loss is a mean over the boxes of a group."""
_GROUPS_AT_ONCE = 4


class GroupedLoss:
    """The mean loss over images, computed in groups of LOSS_GROUP images whatever the batch size."""

    def __init__(self, settings: LossSettings, weights: Tensor | None = None) -> None:
        """weights: see `matched_losses`."""
        self._settings, self._weights = settings, weights
        self._waiting: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []
        self._total, self._images = 0.0, 0

    def add(self, logits: Tensor, boxes: Tensor, target: dict[str, Tensor]) -> None:
        """Add one image."""
        self._waiting.append((logits, boxes, target))
        if len(self._waiting) == _GROUPS_AT_ONCE * LOSS_GROUP:
            self._take(_GROUPS_AT_ONCE)

    def mean(self) -> float:
        """The mean over all images."""
        whole, rest = divmod(len(self._waiting), LOSS_GROUP)
        if whole:
            self._take(whole)
        if rest:
            self._take(1)
        return self._total / self._images

    def _take(self, groups: int) -> None:
        """Add the losses of the first images that wait, in groups of equal size."""
        size = min(LOSS_GROUP, len(self._waiting))
        taken, self._waiting = self._waiting[: groups * size], self._waiting[groups * size :]
        logits, boxes, targets = zip(*taken, strict=True)
        losses = matched_losses(
            torch.stack(logits),
            torch.stack(boxes),
            list(targets),
            lanes=groups,
            settings=self._settings,
            weights=self._weights,
        )
        for loss in losses.tolist():
            self._total += loss * size
        self._images += groups * size
