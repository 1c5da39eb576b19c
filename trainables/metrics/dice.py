"""Dice and IoU of masks, from the pixels of each class in each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.metrics.mask_means import mask_names, mask_values
from trainables.metrics.rules import MetricRules


def counts_by_image(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """(B, 3, classes) int64: each image's correct, true and predicted pixels of each class.

    predicted, target: (B, H, W) index maps; pixels whose target is IGNORE are left out.
    """
    return counts_of(confused_by_image(predicted, target, classes))


def counts_of(confused: Tensor) -> Tensor:
    """(B, 3, classes) from (B, classes, classes); see `counts_by_image` and `confused_by_image`."""
    return torch.stack([confused.diagonal(dim1=1, dim2=2), confused.sum(2), confused.sum(1)], dim=1)


def confused_by_image(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """(B, classes, classes) int64: each image's pixels by true and predicted class; see `counts_by_image`."""
    # One count over (image, true, predicted), with a row for ignored pixels: selecting them takes 20 times
    # as long.
    rows = classes + 1
    cells = target.to(torch.int32).clamp_max(classes) * classes + predicted.to(torch.int32)
    firsts = torch.arange(0, len(target) * rows * classes, rows * classes, device=target.device)
    cells += firsts.to(torch.int32).view(-1, 1, 1)
    counts = torch.bincount(cells.flatten(), minlength=len(target) * rows * classes)
    return counts.view(len(target), rows, classes)[:, :classes]


def mask_metrics(counts: Tensor, classes: Sequence[str], rules: MetricRules) -> dict[str, float]:
    """`dice` and `iou`, and each class's value, over all images; see `mask_values`.

    counts: see `counts_by_image`.

    A class that is present neither in truth nor in prediction is left out. By definition 2 the means are over
    the foreground, `dice_with_background` over all classes, and `dice_worst` is the least value of a
    foreground class; by definition 1 the means are over all classes.
    """
    # One sample of all images: (1, classes) each.
    right, truth, called = counts.sum(0).cpu().double().numpy()[:, None]
    names = mask_names(classes, rules)
    found = {name: float(mask_values(right, truth, called, name, classes, rules)[0]) for name in names}
    return {name: value for name, value in found.items() if not math.isnan(value)}
