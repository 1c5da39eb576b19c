"""Segmentation losses, and the soft Dice of study B.

All take logits (images, classes, H, W) and a target (images, H, W) of class indices, where IGNORE is
not counted, and work in float32 from two measures of each image: its mean cross-entropy, and
per class the soft overlap with the truth. So a metric over many images is computed from fixed
groups of images, whatever the batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trainables.data.files.mask_pixels import IGNORE
from trainables.specs.trial import Loss

GROUP = 32
"""The group size of the evaluation Dice, in images: the batch size of study B."""
FEW_CLASSES = 8
"""Up to this many classes the truth is held as one map for each class."""
_EPS = 1e-6


@dataclass(frozen=True)
class Measures:
    """The measures that the losses are computed from, one row per image.

    entropy: (images,) cross-entropy, mean over an image's counted pixels.
    overlap, predicted, true: (images, classes) sums over counted pixels of p·t, p and t, for
    predicted probabilities p and one-hot truth t.
    """

    entropy: Tensor
    overlap: Tensor
    predicted: Tensor
    true: Tensor

    @classmethod
    def join(cls, parts: Sequence[Measures]) -> Measures:
        """All images of `parts`, in order."""
        return cls(*(torch.cat(rows) for rows in zip(*(p._rows for p in parts), strict=True)))

    def take(self, places: Sequence[int]) -> Measures:
        """The images with the indices `places`, in that order."""
        chosen = torch.as_tensor(places, device=self.entropy.device)
        return Measures(*(rows[chosen] for rows in self._rows))

    def groups(self, size: int = GROUP) -> list[Measures]:
        """Consecutive groups of `size` images; the last one may be smaller."""
        return [
            Measures(*parts) for parts in zip(*(torch.split(rows, size) for rows in self._rows), strict=True)
        ]

    @property
    def _rows(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.entropy, self.overlap, self.predicted, self.true


def measure_images(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Measures:
    """Both measures of each image. weights: (classes,) of the classes in the cross-entropy; see `loss_of`."""
    scores = logits.float().flatten(2).log_softmax(1)
    return Measures(_entropy(scores, target, weights), *_overlap(scores.exp(), target))


def lane_losses(
    logits: Tensor, target: Tensor, loss: Loss, *, lanes: int, weights: Tensor | None = None
) -> Tensor:
    """(lanes,) the loss of each of `lanes` equally large parts of the images. weights: see `loss_of`.

    cross_entropy is a mean over images of means over pixels; the Dice losses are computed over all images
    of a lane, so that a class that a single image lacks does not distort them.
    """
    measures = _measures(logits, target, loss, weights)
    if loss is Loss.CROSS_ENTROPY:
        return measures.entropy.view(lanes, -1).mean(1)
    return torch.stack([loss_of(own, loss, weights) for own in measures.groups(len(logits) // lanes)])


def _measures(logits: Tensor, target: Tensor, loss: Loss, weights: Tensor | None) -> Measures:
    """What `loss` needs of each image; zeros for the rest."""
    images, classes = len(logits), logits.shape[1]
    nothing = logits.new_zeros((images, classes), dtype=torch.float32)
    scores = logits.float().flatten(2).log_softmax(1)
    entropy = nothing[:, 0] if loss in WITHOUT_ENTROPY else _entropy(scores, target, weights)
    overlap = (nothing,) * 3 if loss is Loss.CROSS_ENTROPY else _overlap(scores.exp(), target)
    return Measures(entropy, *overlap)


WITHOUT_ENTROPY = (Loss.DICE, Loss.LOG_COSH_DICE)
"""Losses that need no cross-entropy."""


def loss_of(measures: Measures, loss: Loss, weights: Tensor | None = None) -> Tensor:
    """The loss of a group of images from its measures.

    dice           1 − mean of the soft Dice 2·Σpt / (Σp + Σt) over the classes present in the truth
    log_cosh_dice  log cosh(1 − weighted soft Dice), study B; see `weighted_soft_dice`

    weights: (classes,) above 0, float32. A mean over the pixels of an image becomes a mean weighted by the
    pixels' true classes, as in torch's cross-entropy, and the mean over classes a weighted one.
    """
    match loss:
        case Loss.CROSS_ENTROPY:
            return measures.entropy.mean()
        case Loss.DICE:
            return _dice_loss(measures, weights)
        case Loss.LOG_COSH_DICE:
            return torch.log(torch.cosh(1 - weighted_soft_dice(measures, weights)))
        case Loss.CROSS_ENTROPY_DICE:
            return measures.entropy.mean() + _dice_loss(measures, weights)
        case _:
            assert_never(loss)


def weighted_soft_dice(measures: Measures, weights: Tensor | None = None) -> Tensor:
    """Study B's metric: Σ_c w_c · Dice_c, w_c ∝ 1 / pixels of class c in the group, Σ w_c = 1.

    Classes absent from the group's truth have no weight; without a counted pixel the metric is 1.
    weights: (classes,) what each w_c is multiplied by before they are scaled to 1; for a loss.
    """
    true = measures.true.sum(0)
    present = true > 0
    shares = present / true.clamp(min=1.0)
    if weights is not None:
        shares = shares * weights
    if not present.any():
        return measures.overlap.sum() * 0 + 1
    return (shares / shares.sum() * _dice(measures)).sum()


def soft_dice(measures: Measures) -> float:
    """`weighted_soft_dice` of groups of GROUP images, averaged by their numbers of images."""
    return _over_groups(measures, [weighted_soft_dice(g) for g in measures.groups()])


def mean_loss(measures: Measures, loss: Loss, weights: Tensor | None = None) -> float:
    """The loss of groups of GROUP images, averaged by their numbers of images."""
    return _over_groups(measures, [loss_of(g, loss, weights) for g in measures.groups()])


def _over_groups(measures: Measures, values: list[Tensor]) -> float:
    sizes = [len(g.entropy) for g in measures.groups()]
    return sum(float(v) * n for v, n in zip(values, sizes, strict=True)) / sum(sizes)


def _dice_loss(measures: Measures, weights: Tensor | None) -> Tensor:
    present = measures.true.sum(0) > 0
    if not present.any():
        return measures.overlap.sum() * 0
    if weights is not None:
        return 1 - (weights * _dice(measures))[present].sum() / weights[present].sum()
    return 1 - _dice(measures)[present].mean()


def _dice(measures: Measures) -> Tensor:
    """(classes,) soft Dice over the group."""
    both = measures.predicted.sum(0) + measures.true.sum(0)
    return 2 * measures.overlap.sum(0) / both.clamp(min=_EPS)


def _entropy(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """(images,) from (images, classes, pixels) logarithms of probabilities."""
    flat = target.flatten(1)
    if weights is not None:
        counts = pixel_weights(flat, weights)
        right = scores.gather(1, flat.where(flat != IGNORE, 0).long().unsqueeze(1)).squeeze(1)
        return -(right * counts).sum(1) / counts.sum(1).clamp(min=_EPS)
    counted = (flat != IGNORE).sum(1).clamp(min=1)
    if scores.shape[1] <= FEW_CLASSES:
        # The gradient of `nll_loss` is written into zeros, which takes longer than these products.
        return -(scores * _one_hot(flat, scores.shape[1])).sum((1, 2)) / counted
    lost = functional.nll_loss(scores, flat.long(), ignore_index=IGNORE, reduction="none")
    return lost.sum(1) / counted


def pixel_weights(target: Tensor, weights: Tensor) -> Tensor:
    """Of the shape of `target`, float32: the weight of each pixel's true class; 0 for ignored pixels."""
    counted = target != IGNORE
    return weights[target.where(counted, 0).long()] * counted


def _overlap(guess: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(images, classes) each, from (images, classes, pixels) probabilities."""
    flat = target.flatten(1)
    true = _one_hot(flat, guess.shape[1])
    counted = (flat != IGNORE).float().unsqueeze(1)
    return (guess * true).sum(2), (guess * counted).sum(2), true.sum(2)


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """(images, classes, pixels) float32 from (images, pixels); zeros for ignored pixels."""
    return (target.unsqueeze(1) == torch.arange(classes, device=target.device).view(1, -1, 1)).float()
