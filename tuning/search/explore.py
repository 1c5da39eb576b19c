"""The settings with which a replaced trial of a population goes on (`scheduler.pbt`)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from tuning.experiment.alternative import Alternative
from tuning.experiment.sections.scheduler import PbtSpec
from tuning.experiment.space import Space, config_hash

FACTORS = (0.8, 1.2)
"""A number is multiplied by one of these, as in Jaderberg et al. (2017)."""


def explored(
    space: Space, params: Mapping[str, JsonValue], spec: PbtSpec, *, seed: Sequence[int]
) -> dict[str, JsonValue]:
    """The parameters of a better trial, with those of `spec.explore` drawn anew or moved a little.

    They stay in the space. A choice moves to one of its neighbours in the order of the file. At least one
    changes, if any has another value. seed: whole numbers; the same ones give the same parameters.
    """
    rng = random.Random(":".join(map(str, seed)))
    found = dict(params)
    able = [name for name in spec.explore if name in params]
    for _ in range(100):
        for name in able:
            domain = space.root[name][space.active(name, params) or 0]
            anew = rng.random() < spec.resample
            found[name] = domain.sample(rng) if anew else _moved(domain, params[name], rng)
        if config_hash(found) != config_hash(params):
            break
    return found


def _moved(domain: Alternative, value: JsonValue, rng: random.Random) -> JsonValue:
    up = rng.random() < 0.5
    if domain.size is not None and (domain.choice is not None or domain.step is not None):
        known = [domain.at(index) for index in range(domain.size)]
        at = known.index(value) + (1 if up else -1)
        return known[min(max(at, 0), len(known) - 1)]
    assert isinstance(value, int | float)
    low, high = domain.span
    moved = min(max(value * FACTORS[up], low), high)
    if domain.whole is None:
        return moved
    step = round(moved)  # 1 · 1.2 would stay 1
    return min(max(step if step != value else int(value) + (1 if up else -1), int(low)), int(high))
