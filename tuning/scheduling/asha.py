"""Ray's ASHA with rungs kept in order: a decision takes no longer in a rung of ten thousand trials.

Ray gathers and partitions all values of a rung for each. The decisions are the same, to the bit.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.schedulers.async_hyperband import _Bracket


class _Rung(dict[str, float]):
    """Values by trial; each is set once, and is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.ordered: list[float] = []

    def __setitem__(self, trial: str, value: float) -> None:
        super().__setitem__(trial, value)
        insort(self.ordered, value)


class _OrderedBracket(_Bracket):  # type: ignore[misc]
    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._rungs: Any = [(milestone, _Rung()) for milestone, _ in vars(self)["_rungs"]]

    def cutoff(self, recorded: _Rung) -> float | None:
        return percentile(recorded.ordered, (1 - 1 / self.rf) * 100) if recorded else None


class OrderedAsha(AsyncHyperBandScheduler):  # type: ignore[misc]
    """ASHA with one bracket; several are drawn from numpy's global generator."""

    def __init__(self, *, grace_period: float, max_t: float, reduction_factor: float, **given: Any) -> None:
        limits = {"grace_period": grace_period, "max_t": max_t, "reduction_factor": reduction_factor}
        super().__init__(brackets=1, **limits, **given)
        self._brackets = [_OrderedBracket(grace_period, max_t, reduction_factor, 0)]


def percentile(ordered: list[float], percent: float) -> float:
    """`numpy.nanpercentile` of values in order, none of them NaN: the same arithmetic, step by step."""
    at = (len(ordered) - 1) * (percent / 100)
    if at >= len(ordered) - 1:
        return ordered[-1]
    below = math.floor(at)
    low, high, share = ordered[below], ordered[below + 1], at - below
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share
