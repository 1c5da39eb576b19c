"""Dice and IoU from sums of pixels by class, for any number of samples of images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainables.metrics.coco import Array
from trainables.metrics.rules import MetricRules

BASES = ("dice", "iou")
WITH_BACKGROUND = "_with_background"
"""The mean over all classes, the background included: `dice_with_background`."""
WORST = "_worst"
"""The least value of a foreground class: `dice_worst`."""


def mask_names(classes: Sequence[str], rules: MetricRules) -> tuple[str, ...]:
    """The names of the metrics that are computed from masks' pixel counts."""
    found = []
    for base in BASES:
        extras = (WITH_BACKGROUND, WORST) if getattr(rules.definitions, base) >= 2 else ()
        found += [f"{base}{part}" for part in ("", *extras, *(f"/{name}" for name in classes))]
    return tuple(found)


def mask_values(
    right: Array, truth: Array, called: Array, name: str, classes: Sequence[str], rules: MetricRules
) -> Array:
    """(R,) values of a metric for (R, classes) sums of correct, true and predicted pixels.

    Dice 2·TP / (2·TP + FP + FN), IoU TP / (TP + FP + FN). A class counts where it is present in truth or
    prediction; alone, it is NaN elsewhere. A mean or a worst value without any such class is 0.
    """
    whole, _, label = name.partition("/")
    base = whole.partition("_")[0]
    both = truth + called
    with np.errstate(invalid="ignore", divide="ignore"):
        values = 2 * right / both if base == "dice" else right / (both - right)
    present = both > 0
    if label:
        index = list(classes).index(label)
        one: Array = np.where(present[:, index], values[:, index], np.nan)
        return one
    if getattr(rules.definitions, base) >= 2 and whole != base + WITH_BACKGROUND:
        places = list(rules.foreground(classes))
        values, present = values[:, places], present[:, places]
    if whole == base + WORST:
        least: Array = np.where(present, values, np.inf).min(axis=1)
        return np.where(np.isfinite(least), least, 0.0)
    count = present.sum(axis=1)
    mean: Array = np.where(present, values, 0.0).sum(axis=1) / np.maximum(count, 1)
    return mean
