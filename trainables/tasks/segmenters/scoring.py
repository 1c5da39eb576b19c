"""The metrics of masks over a split, which are the same for every segmenter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.loader import Batch, eval_batches
from trainables.data.prepared import PreparedSplit
from trainables.metrics.dice import confused_by_image, counts_of, mask_metrics
from trainables.metrics.per_image import MaskImages
from trainables.metrics.results import Keep, MaskResults
from trainables.metrics.rules import MetricRules
from trainables.specs.trial import Loss, Precision
from trainables.tasks.base import autocast, split_by_size
from trainables.tasks.losses import Measures, mean_loss, measure_images, soft_dice


@dataclass(frozen=True)
class Scored:
    """What a segmenter gives for a batch.

    scores: (B, classes, H, W); the highest decides.  log_scores: the same as logits.
    losses: (B,) of each image; None for one of `loss_of`, computed from the logits.
    """

    scores: Tensor
    log_scores: Tensor
    losses: Tensor | None = None


def mask_scores(
    scored: Callable[[Batch], Scored],
    split: PreparedSplit,
    classes: tuple[str, ...],
    rules: MetricRules,
    *,
    batch_size: int,
    device: torch.device,
    precision: Precision,
    loss: Loss = Loss.CROSS_ENTROPY,
    weights: Tensor | None = None,
    keep: Keep | None = None,
) -> dict[str, float]:
    """Dice and IoU over all pixels at mask resolution, `soft_dice` (study B) and `loss`.

    scored: computes a batch of images of one size, within autocast.  loss: for models without losses of their
    own.  weights: (classes,) in that loss.  keep: see `TaskModel.evaluate`.
    """
    measured: list[Measures] = []
    counts: dict[int, Tensor] = {}
    losses: dict[int, float] = {}
    confusion = torch.zeros((len(classes),) * 2, dtype=torch.int64, device=device)
    for batch in eval_batches(split, batch_size=batch_size):
        parts, places = [], []
        for piece in split_by_size(batch.to(device)):
            assert piece.masks is not None
            with autocast(device, precision):
                found = scored(piece)
            each = confused_by_image(predicted_classes(found.scores), piece.masks, len(classes))
            confusion += each.sum(0)
            counts |= dict(zip(piece.indices, counts_of(each), strict=True))
            if found.losses is not None:
                losses |= dict(zip(piece.indices, found.losses.tolist(), strict=True))
            parts.append(measure_images(found.log_scores, piece.masks, weights))
            places += piece.indices
        # Pieces are formed by size, but groups of images by their order in the split.
        measured.append(Measures.join(parts).take(sorted(range(len(places)), key=places.__getitem__)))
    whole = Measures.join(measured)
    counted = torch.stack([counts[place] for place in sorted(counts)]).cpu()
    own = sum(losses[place] for place in sorted(losses)) / len(losses) if losses else None
    metrics = mask_metrics(counted, classes, rules) | {
        "soft_dice": soft_dice(whole),
        "loss": mean_loss(whole, loss, weights) if own is None else own,
    }
    finite = bool(torch.isfinite(whole.entropy).all()) and (own is None or math.isfinite(own))
    if keep is not None and finite:
        images = MaskImages(classes, tuple(split.names), counted.numpy(), rules)
        soft = torch.stack([whole.overlap, whole.predicted, whole.true], dim=1).cpu().double()
        keep(MaskResults(images, soft.numpy(), confusion.cpu().numpy()))
    return metrics if finite else dict.fromkeys(metrics, math.nan)


def predicted_classes(scores: Tensor) -> Tensor:
    """(B, H, W) the class with the highest score; on a CPU `argmax` over classes takes 15 times as long."""
    return scores.max(1).indices
