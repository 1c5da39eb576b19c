"""Small batches for the gradient audit: training images that have as many classes as possible."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainables.data.loader import Batch, batch_of
from trainables.data.prepared import PreparedSplit
from trainables.data.sample import IGNORE

LOOKED_AT = 64
"""The number of images, spread over the split, among which the batches' images are chosen."""


def audit_batches(split: PreparedSplit, images: int) -> Iterator[Batch]:
    """Batches of at most `images` images, not augmented, none of them twice, with the most classes first."""
    count = min(len(split), LOOKED_AT)
    left = {int(i): _classes_in(split, int(i)) for i in np.linspace(0, len(split) - 1, count)}
    while left:
        chosen: list[int] = []
        seen: set[int] = set()
        while left and len(chosen) < images:
            best = max(left, key=lambda i: (len(left[i] - seen), len(left[i]), -i))
            seen |= left.pop(best)
            chosen.append(best)
        yield batch_of(split, sorted(chosen))


def _classes_in(split: PreparedSplit, i: int) -> set[int]:
    if split.has_masks:
        return set(np.unique(split.mask(i)).tolist()) - {IGNORE}
    starts, _, labels = split.trainable
    return set(labels[starts[i] : starts[i + 1]].tolist())
