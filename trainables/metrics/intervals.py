"""The 95 % bootstrap interval, over the images of a split, of a metric minus its floor.

The draws depend on the number of images alone, and use no random state but their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainables.metrics.above_floor import Interval
from trainables.metrics.coco import Array
from trainables.metrics.floors import GROUP, constant_group_dice, constant_values
from trainables.metrics.mask_means import mask_values
from trainables.metrics.rules import MetricRules

RESAMPLES = 1000
TAIL = 0.025
SEED = 20_240_501
KEPT_IMAGES = 20_000
"""Draws of more images than this are made anew for each interval; others are kept: 1 byte an image."""
_CHUNK = 2_000_000
"""Numbers held at once."""
LEAST = sys.float_info.min
"""The low end for a metric that is above 0 without saying by how much."""


@dataclass(frozen=True)
class Resampled:
    """values: (RESAMPLES,) of a metric minus its floor, both on the same resample of the images."""

    values: Array


@dataclass(frozen=True)
class Found:
    """A metric that is 0 on a resample without a hit and above 0 on any other, as AP and AR.

    nothing: the probability of a resample without a hit.
    """

    nothing: float


Sampled = Resampled | Found


def interval(parts: Sequence[Sampled]) -> Interval | None:
    """(low, high) of the mean over `parts`, which are the same metric on different images; None for none.

    Of AP and AR the interval is not resampled, which would take as long as an evaluation: it lies above 0
    unless a resample without a hit has a probability of 2.5 % or more. Only the sign of `low` is meant: it is
    then 0, and otherwise `LEAST`. `high` is always 1 and says nothing.
    """
    values = [part.values for part in parts if isinstance(part, Resampled)]
    chances = [part.nothing for part in parts if isinstance(part, Found)]
    if values:
        means = np.mean(values, axis=0)
        low, high = np.percentile(means, [100 * TAIL, 100 * (1 - TAIL)])
        return float(low), float(high)
    if chances:
        return (0.0 if float(np.prod(chances)) >= TAIL else LEAST), 1.0
    return None


def robustness_interval(own: Sampled | None, shifted: Sequence[Sampled | None]) -> Interval | None:
    """(low, high) of a robustness, by the rule of its value (`relative_robustness`); None for no images.

    own, shifted: the main metric minus its floor, on the images in domain and in each domain; None for a set
    that lacks the metric, whose value counts as 0.  On each resample, a domain below its floor has the share
    0, and all have it where the model is not above the floor in domain.

    The images in domain are resampled independently of the shifted ones. Of AP and AR only the sign is meant,
    as in `interval`: `low` is 0 if a resample that has no hit in domain, or none in any of `shifted`, has a
    probability of 2.5 % or more.
    """
    known = [part for part in (own, *shifted) if part is not None]
    if not known:
        return None
    if any(isinstance(part, Found) for part in known):
        here = own.nothing if isinstance(own, Found) else 1.0
        there = float(np.prod([part.nothing for part in shifted if isinstance(part, Found)]))
        return interval([Found(1 - (1 - here) * (1 - there))])
    # Sets of equal size share their draws; row for row reversed, no draw in domain meets itself.
    base = _lifted(own)[::-1]
    kept = np.mean([_lifted(part) for part in shifted], axis=0)
    return interval([Resampled(np.where(base > 0, kept / np.where(base > 0, base, 1.0), 0.0))])


def _lifted(part: Sampled | None) -> Array:
    """(RESAMPLES,) of how far a metric lies above its floor, 0 below it."""
    return np.maximum(part.values, 0.0) if isinstance(part, Resampled) else np.zeros(RESAMPLES)


def drawn(images: int) -> Iterator[Array]:
    """(r, images) uint8 in chunks that add up to RESAMPLES rows: how often a resample has each image."""
    if 0 < images <= KEPT_IMAGES:
        yield from _kept(images)
    elif images:
        yield from _draws(images)


@lru_cache(maxsize=4)
def _kept(images: int) -> tuple[Array, ...]:
    return tuple(_draws(images))


def _draws(images: int) -> Iterator[Array]:
    random = np.random.default_rng([SEED, images])
    rows = max(1, min(RESAMPLES, _CHUNK // images))
    for first in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - first)
        places = random.integers(0, images, (count, images))
        places += np.arange(count)[:, None] * images
        # No image is drawn 255 times: for one image alone, the only draw is 1.
        yield np.bincount(places.ravel(), minlength=count * images).reshape(count, images).astype(np.uint8)


def resampled_masks(counts: Array, name: str, classes: Sequence[str], rules: MetricRules) -> Resampled:
    """A mask metric minus its floor. counts: (n, 3, classes) correct, true and predicted pixels."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    found = []
    for weights in drawn(len(counts)):
        sums = (weights.astype(np.float64) @ flat).reshape(len(weights), 3, -1)
        right, truth, called = sums[:, 0], sums[:, 1], sums[:, 2]
        values = mask_values(right, truth, called, name, classes, rules)
        floors = constant_values(truth, name, classes, rules)
        # A resample without the class says nothing of it.
        found.append(np.where(np.isfinite(values) & np.isfinite(floors), values - floors, 0.0))
    return Resampled(np.concatenate(found))


def resampled_soft_dice(measures: Array) -> Resampled:
    """`soft_dice` minus its floor. measures: (n, 3, classes) overlap, predicted and true, see `Measures`.

    Each resample is divided into groups of GROUP images as it is drawn.
    """
    images, _, classes = measures.shape
    flat = measures.reshape(images, -1)
    random = np.random.default_rng([SEED, images, GROUP])
    sizes = np.diff([*range(0, images, GROUP), images])
    starts = np.cumsum([0, *sizes[:-1]])
    rows = max(1, _CHUNK // (images * flat.shape[1]))
    found = []
    for first in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - first)
        taken = flat[random.integers(0, images, (count, images))]
        sums = np.add.reduceat(taken, starts, axis=1).reshape(-1, 3, classes)
        overlap, called, true = sums[:, 0], sums[:, 1], sums[:, 2]
        present = true > 0
        weights = present / np.maximum(true, 1.0)
        total = weights.sum(axis=1, keepdims=True)
        dice = 2 * overlap / np.maximum(called + true, 1e-6)
        value = np.where(total[:, 0] > 0, (weights * dice).sum(axis=1) / np.maximum(total[:, 0], 1e-300), 1.0)
        mean = value.reshape(count, -1) @ sizes / images
        floor = np.einsum("rgc,g->rc", constant_group_dice(true).reshape(count, -1, classes), sizes) / images
        found.append(mean - floor.max(axis=1))
    return Resampled(np.concatenate(found))


def chance_of_nothing(hits: Array) -> Found:
    """The chance that no image with a hit is drawn: (1 − h/n)^n. hits: (n,) bool."""
    return Found(float((1 - np.count_nonzero(hits) / len(hits)) ** len(hits)))


def chance_of_a_class_without_hit(hits: Array, objects: Array) -> Found:
    """The share of resamples in which a class with objects has no hit. hits, objects: (n, classes) bool."""
    failed = 0
    for weights in drawn(len(hits)):
        weighed = weights.astype(np.float64)
        shown, hit = weighed @ objects > 0, weighed @ hits > 0
        failed += int(np.count_nonzero((shown & ~hit).any(axis=1) | ~shown.any(axis=1)))
    return Found(failed / RESAMPLES)
