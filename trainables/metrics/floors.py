"""The floor of a metric on a set of images: what the best constant predictor reaches on them.

A constant predictor of masks calls every counted pixel the same class; the floor of a metric is taken
over all classes, for each metric separately. A detector that finds nothing has AP and AR 0.
Metrics of which lower is better have no floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainables.metrics.coco import Array
from trainables.metrics.mask_means import mask_names, mask_values
from trainables.metrics.rules import MetricRules

SOFT_DICE = "soft_dice"
GROUP = 32
"""The group size of `soft_dice`, in images."""


def mask_floors(truth: Array, classes: Sequence[str], rules: MetricRules) -> dict[str, float]:
    """The floors of all mask metrics. truth: (n, classes) true pixels by image, in the split's order.

    A metric without a value for a constant predictor is left out, as that of a class without a pixel.
    """
    total = truth.sum(axis=0, dtype=np.float64)
    names = mask_names(classes, rules)
    found = {name: constant_values(total[None], name, classes, rules)[0] for name in names}
    found[SOFT_DICE] = float(constant_soft_dice(truth).max(initial=0.0))
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def constant_values(truth: Array, name: str, classes: Sequence[str], rules: MetricRules) -> Array:
    """(R,) floors of a mask metric for (R, classes) sums of true pixels; NaN where it is undefined.

    For each resample the best constant class is chosen anew.
    """
    label = name.partition("/")[2]
    if label:  # only this class, called everywhere, hits any of its pixels
        index = list(classes).index(label)
        right, called = truth[:, index], truth.sum(axis=1)
        both = right + called
        with np.errstate(invalid="ignore"):
            value = 2 * right / both if name.startswith("dice") else right / called
        alone: Array = np.where(right > 0, value, np.nan)
        return alone
    best = np.full(len(truth), np.nan)
    for chosen in range(len(classes)):
        right, called = np.zeros_like(truth), np.zeros_like(truth)
        right[:, chosen] = truth[:, chosen]
        called[:, chosen] = truth.sum(axis=1)
        best = np.fmax(best, mask_values(right, truth, called, name, classes, rules))
    return best


def constant_soft_dice(truth: Array, size: int = GROUP) -> Array:
    """(classes,) `soft_dice` of each constant one-hot predictor; truth: (n, classes) pixels, in order.

    As in `trainables.tasks.losses`: weights of classes by group are 1 / pixels, over those in the truth.
    """
    if not len(truth):
        return np.zeros(truth.shape[1])
    groups = [truth[at : at + size] for at in range(0, len(truth), size)]
    sums = np.stack([group.sum(axis=0, dtype=np.float64) for group in groups])
    sizes = np.array([len(group) for group in groups])
    means: Array = constant_group_dice(sums).T @ sizes / len(truth)
    return means


def constant_group_dice(truth: Array) -> Array:
    """(G, classes): weighted soft Dice of each constant predictor, for (G, classes) true pixels of groups.

    A group without a counted pixel gives 1, as in `weighted_soft_dice`.
    """
    counted = truth.sum(axis=1, keepdims=True)
    weights = (truth > 0) / np.maximum(truth, 1.0)
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    values: Array = np.where(counted > 0, shares * 2 * truth / np.maximum(truth + counted, 1.0), 1.0)
    return values
