"""The value that a trial stopped early would have reached: what some samplers are told in its place.

A Gaussian process, CMA-ES and NSGA-II take one value per trial and do not know of unequal budgets. Without
the trials that ASHA stops, which are most of them, they would stay random for a long time. With their last
values, a good configuration that was stopped after one epoch would look worse than a bad one that ran on.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence

Curve = Sequence[tuple[int, float]]
"""(step, value) in ascending order of steps."""


def estimate_final(
    stopped: Curve,
    finished: Sequence[tuple[Curve, float]],
    *,
    maximize: bool,
    known: dict[int, tuple[float, float] | None],
) -> float | None:
    """Return the last value of `stopped` plus what finished trials gained after it; None without values.

    The gain is the median over the finished trials that had reported by then. The estimate is no better than
    the median of their final values: the trial was stopped because it was worse. Without such trials it is
    the last value.

    finished: the curves and final values.  known: gain and median by step, filled as they are needed.
    """
    if not stopped:
        return None
    step, last = stopped[-1]
    if step not in known:
        known[step] = _typical(step, finished)
    typical = known[step]
    if typical is None:
        return last
    gain, middle = typical
    return min(last + gain, middle) if maximize else max(last + gain, middle)


def as_curve(values: Mapping[int, float]) -> Curve:
    """The intermediate values of an Optuna trial as a curve."""
    return sorted(values.items())


def _typical(step: int, finished: Sequence[tuple[Curve, float]]) -> tuple[float, float] | None:
    """The median gain after a step, and the median final value, of the trials that had reported by then."""
    gains, finals = [], []
    for curve, final in finished:
        place = bisect_right(curve, step, key=lambda point: point[0])
        if place:
            gains.append(final - curve[place - 1][1])
            finals.append(final)
    return (statistics.median(gains), statistics.median(finals)) if gains else None
