"""What a metric is worth: how far it lies above its floor, by the one rule that everything uses.

The floor is what the best constant predictor reaches on the same images (`trainables.metrics.floors`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainables.specs.definitions import Definitions
from trainables.specs.tasks import is_coco
from trainables.specs.workload import ROBUSTNESS, MetricName

Interval = tuple[float, float]
"""(low, high) of a 95 % bootstrap interval of a metric minus its floor.

For AP and AR it is no interval, and only its sign is meant: low is 0 if the model has collapsed, and else
the least positive number; high is 1. See `trainables.metrics.intervals.interval`.
"""


def metric_floor(metric: MetricName, floors: Mapping[str, float]) -> float | None:
    """The floor of a metric; None if it has none, as the loss. floors: those of the masks' images.

    0 for AP and AR, and for robustness, which is measured above the floors already.
    """
    if metric.base == ROBUSTNESS or is_coco(metric.base):
        return 0.0
    return floors.get(metric.name)


def above_floor(value: float, floor: float) -> float:
    """How far `value` lies above `floor`; 0 below it, NaN for NaN."""
    return max(0.0, value - floor) if math.isfinite(value) else math.nan


def collapsed(interval: Interval | None) -> bool | None:
    """Whether a trial is no better than a constant predictor: its interval does not lie above 0.

    None if its metric has no floor.
    """
    return None if interval is None else not interval[0] > 0


def better_than_baseline(value: float, floor: float | None, baseline: float) -> bool:
    """Whether `value` lies further above the floor than the pretrained baseline; higher is better.

    floor: None for a metric without a floor.
    """
    if floor is None:
        return value > baseline
    return above_floor(value, floor) > above_floor(baseline, floor)


def relative_robustness(
    own: float | None,
    shifted: Mapping[str, float | None],
    *,
    definitions: Definitions,
    own_floor: float = 0.0,
    floors: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The main metric in each domain as a share of the one in the data's own domain, above their floors.

    own, shifted: the metric in the own domain and by domain.  own_floor, floors: its floors there, which
    count from definition 2 on.  A share is 0 if the metric in the own domain does not lie above its floor:
    a model that finds nothing is not robust. NaN stays NaN; a domain without the metric has no share.
    """
    measured = definitions.robustness >= 2
    if own is None:
        return {}
    base = above_floor(own, own_floor) if measured else own
    shares = {}
    for name, value in shifted.items():
        if value is not None:
            top = above_floor(value, (floors or {}).get(name, 0.0)) if measured else value
            shares[name] = top / base if base else 0.0 * top
    return shares
