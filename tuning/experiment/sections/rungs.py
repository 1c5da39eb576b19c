"""The rungs of successive halving: the epochs at which trials are compared."""

from __future__ import annotations

import math
from bisect import bisect_right

A_LITTLE = 1e-9
"""Added to a report's epoch: a rung at 0.6 must see the report at 3/5 of an epoch, however it was rounded."""


def rungs_from(grace_epochs: float, factor: float, max_epochs: float) -> tuple[float, ...]:
    """The first rung, and each next one `factor` times as high, up to `max_epochs` (as in Ray 2.60)."""
    count = int(math.log(max_epochs / grace_epochs) / math.log(factor) + 1)
    return tuple(grace_epochs * factor**rung for rung in range(count))


def rungs_down_from(max_epochs: float, factor: float, grace_epochs: float) -> tuple[float, ...]:
    """The last rung at `max_epochs`, and each one before it `factor` times lower, down to `grace_epochs`."""
    found = [max_epochs]
    while found[-1] / factor >= grace_epochs - A_LITTLE:
        found.append(found[-1] / factor)
    return tuple(reversed(found))


def highest_rung(rungs: tuple[float, ...], epoch: float) -> int:
    """The index of the highest rung that a report at this epoch reaches; -1 if none."""
    return bisect_right(rungs, epoch + A_LITTLE) - 1
