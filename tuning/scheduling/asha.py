"""ASHA: Ray's, with each rung kept in order, so that a decision among ten thousand trials stays cheap.

For each decision, Ray's own collects and partitions all values of the rung. The decisions are identical.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.schedulers.async_hyperband import _Bracket  # private; checked against Ray 2.60

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import AshaSpec
from tuning.ledger.records import StoppedBy
from tuning.scheduling.ray_rule import RayRule


def build_asha(spec: AshaSpec, direction: Direction, *, max_epochs: float) -> RayRule | None:
    """Build ASHA (Li et al. 2020) with rungs in epochs; None if no report could come before the first.

    max_epochs: the most epochs that any trial runs.
    """
    if max_epochs <= spec.grace_epochs:
        return None
    return RayRule(
        OrderedAsha(
            time_attr="epoch",
            metric="objective",
            mode=direction.value,
            max_t=max_epochs,
            grace_period=spec.grace_epochs,
            reduction_factor=spec.reduction_factor,
        ),
        StoppedBy.ASHA,
    )


class _Rung(dict[str, float]):
    """Values by trial. Each is set once and is not NaN."""

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
    """ASHA with one bracket: with several, Ray draws a trial's bracket from numpy's global generator."""

    def __init__(self, *, grace_period: float, max_t: float, reduction_factor: float, **given: Any) -> None:
        limits = {"grace_period": grace_period, "max_t": max_t, "reduction_factor": reduction_factor}
        super().__init__(brackets=1, **limits, **given)
        self._brackets = [_OrderedBracket(grace_period, max_t, reduction_factor, 0)]


def percentile(ordered: list[float], percent: float) -> float:
    """Compute `numpy.nanpercentile` of sorted values without NaN, by the same arithmetic, step by step."""
    at = (len(ordered) - 1) * (percent / 100)
    if at >= len(ordered) - 1:
        return ordered[-1]
    below = math.floor(at)
    low, high, share = ordered[below], ordered[below + 1], at - below
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share
