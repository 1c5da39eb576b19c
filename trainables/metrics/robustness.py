"""Metrics in shifted domains, under the names that an objective may have."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainables.metrics.above_floor import relative_robustness
from trainables.metrics.prepared_floors import Floors, set_name
from trainables.specs.data import Split
from trainables.specs.workload import ROBUSTNESS, Workload


def robustness_on(
    split: Split,
    workload: Workload,
    own: Mapping[str, float],
    domains: Mapping[str, Mapping[str, float]],
    floors: Floors,
) -> dict[str, float]:
    """The main metric in each domain as a share of the one in the own domain; see `relative_robustness`.

    A domain without the metric is left out; NaN stays NaN.
    """
    main = workload.task.facts.main_metric
    return relative_robustness(
        own.get(main),
        {name: metrics.get(main) for name, metrics in domains.items()},
        definitions=workload.definitions,
        own_floor=floors.get(set_name(split), {}).get(main, 0.0),
        floors={name: floors.get(set_name(split, name), {}).get(main, 0.0) for name in domains},
    )


def scored_robustness(
    workload: Workload,
    own: Mapping[str, float],
    domains: Mapping[str, Mapping[str, float]],
    floors: Floors,
) -> dict[str, float]:
    """`robustness_on` test images. By definition 1, none if the metric in the own domain is 0."""
    base = own.get(workload.task.facts.main_metric, 0.0)
    if not math.isfinite(base) or (not base and workload.definitions.robustness < 2):
        return {}
    found = robustness_on(Split.TEST, workload, own, domains, floors)
    return {name: share for name, share in found.items() if math.isfinite(share)}


def under_shift(
    workload: Workload,
    own: Mapping[str, float],
    domains: Mapping[str, Mapping[str, float]],
    floors: Floors,
) -> dict[str, float]:
    """Validation metrics in domains: `dice@NAME`, `dice/CLASS@NAME`, `robustness@NAME`, `robustness`.

    The last one is the mean over all domains of the data, if `domains` are all of them. Records of before
    have no metrics of single classes in domains. If a main metric is absent, its robustness is 0, the
    worst value: an objective must have a value. NaN stays NaN.
    """
    by_class = workload.definitions.with_floors
    found = {
        f"{metric}@{name}": value
        for name, metrics in domains.items()
        for metric, value in metrics.items()
        if by_class or "/" not in metric
    }
    main = workload.task.facts.main_metric
    here = {main: 0.0, **own}
    there = {name: {main: 0.0, **metrics} for name, metrics in domains.items()}
    shares = robustness_on(Split.VALIDATION, workload, here, there, floors)
    found |= {f"{ROBUSTNESS}@{name}": share for name, share in shares.items()}
    if domains.keys() == workload.data.domains.keys():
        found[ROBUSTNESS] = sum(shares.values()) / len(shares)
    return found
