"""Which training images an epoch draws if rare classes are to be seen more often."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from trainables.data.files.mask_pixels import IGNORE
from trainables.data.prepared import Array, PreparedSplit
from trainables.specs.trial import Balance, SamplingSpec

EPOCHS_HELD = 4
"""The orders of a split that are held: trials of one pack are at the same epoch, or near to it."""

Key = tuple[SamplingSpec, int, int]

_presence: WeakKeyDictionary[PreparedSplit, Array] = WeakKeyDictionary()
_orders: WeakKeyDictionary[PreparedSplit, dict[Key, Array]] = WeakKeyDictionary()


def drawn_order(split: PreparedSplit, sampling: SamplingSpec, *, seed: int, epoch: int) -> Array:
    """(n,) the indices of the images of an epoch in their order, as many as the split has.

    A pure function of the split's annotations, `sampling`, seed and epoch. See `draw_images`.
    """
    held = _orders.setdefault(split, {})
    key = (sampling, seed, epoch)
    if key not in held:
        while len(held) >= EPOCHS_HELD:
            del held[next(iter(held))]
        # Two numbers more than the plain order's: see `loader._order` on streams.
        rng = np.random.default_rng([seed, epoch, 0, 1])
        held[key] = draw_images(repeat_factors(class_presence(split), sampling.power), rng)
    return held[key]


def is_balanced(sampling: SamplingSpec) -> bool:
    """Whether images are drawn by their classes."""
    return sampling.balance is Balance.CLASS


def repeat_factors(presence: Array, power: float) -> Array:
    """(n,) float64: how many times as often as an image of the most frequent class each image is drawn.

    presence: (n, classes) bool. An image has the factor of its rarest class c, (f_max / f_c) ** power, for f
    the share of images that show a class; with power 0.5, the square root of LVIS (Gupta et al. 2019,
    repeat-factor sampling) with the most frequent class as its threshold. An image without classes has 1.
    """
    shares = presence.mean(axis=0)
    most = shares.max(initial=0.0)
    factors = np.where(shares > 0, most / np.where(shares > 0, shares, 1.0), 1.0) ** power
    found: Array = np.where(presence, factors, 1.0).max(axis=1, initial=1.0)
    return found


def draw_images(factors: Array, rng: np.random.Generator) -> Array:
    """(n,) indices, with each image as often as its factor asks, rounded up or down, in a random order.

    Drawn systematically: points at equal distances on the line of all factors, so that no epoch differs more
    from the shares than by rounding. All factors equal: each image once.
    """
    count = len(factors)
    order = rng.permutation(count)
    ends = np.cumsum(factors[order] * (count / factors.sum()))
    ends[-1] = count  # whatever the rounding of the sum
    # In the middle of a step where all are equal, so that no rounding moves a point to a neighbour.
    points = np.arange(count) + np.clip(rng.random(), 1e-6, 1 - 1e-6)
    drawn = order[np.searchsorted(ends, points, side="right")]
    shuffled: Array = rng.permutation(drawn)
    return shuffled


def class_presence(split: PreparedSplit) -> Array:
    """(n, classes) bool: which classes an image shows to a model that trains on it, crowds left out.

    Read once for a split: for masks, every mask of it.
    """
    if split not in _presence:
        _presence[split] = _read_presence(split)
    return _presence[split]


def _read_presence(split: PreparedSplit) -> Array:
    if split.has_boxes:
        starts, _, labels = split.trainable
        found = np.zeros((len(split), int(labels.max(initial=0)) + 1), bool)
        found[np.repeat(np.arange(len(split)), np.diff(starts)), labels] = True
        return found
    found = np.zeros((len(split), IGNORE), bool)
    for i in range(len(split)):
        found[i] = np.bincount(split.mask(i).ravel(), minlength=IGNORE + 1)[:IGNORE] > 0
    return found
