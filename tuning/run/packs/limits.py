"""How many trials run at once in packs, and how they are spread over the workers. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tuning.experiment.sections.resources import ResourceSpec
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.experiment.sections.search import SearchSpec

SHARE_OF_LEARNER = 4
"""A sampler or a stopping rule learns from trials that have ended or reported, so at most one trial in this
many runs at once, if the number of trials at once is chosen automatically."""


@dataclass(frozen=True)
class Limits:
    """What limits the number of trials at once.

    packing: how many trials a worker takes, or auto: the worker says it.  concurrent: `resources.concurrent`.
    trials: the number of trials of the sweep, if it has one.  learns: whether its search or its scheduler
    learns from results.
    """

    packing: int | Literal["auto"]
    concurrent: int | None = None
    trials: int | None = None
    learns: bool = True

    @property
    def lanes(self) -> int | None:
        """How many trials a worker takes; None if it decides itself."""
        return None if self.packing == "auto" else self.packing


def limits_of(
    resources: ResourceSpec, search: SearchSpec, scheduler: SchedulerSpec, *, trials: int | None
) -> Limits | None:
    """The limits of an experiment; None if each worker runs one trial at a time.

    trials: their number, if there is one. Where several workers share a GPU, none runs a pack. Nor do trials
    whose images become larger: their sizes would differ.
    """
    if resources.packing == "off" or resources.shares_a_gpu or scheduler.smaller_images:
        return None
    learns = scheduler.rule is not None or search.learns
    return Limits(resources.packing, resources.concurrent, trials, learns)


def trials_at_once(limits: Limits, *, packs: int, lanes: int, left: int | None = None) -> int:
    """How many trials run at once.

    packs: the number of workers.  lanes: how many trials a worker takes.  left: trials that have not ended.
    """
    most = packs * lanes
    if limits.packing == "auto" and limits.learns and limits.trials is not None:
        most = min(most, max(packs, limits.trials // SHARE_OF_LEARNER))
    bounds = [bound for bound in (limits.concurrent, left) if bound is not None]
    return max(1, min([most, *bounds]))


def free_lanes(at_once: int, *, packs: int, lanes: int, size: int, others: Iterable[int]) -> int:
    """How many more trials a pack takes, so that all packs get about as many; 0 or less if it is full.

    packs: how many there are, or will be.  size: the number of its trials.  others: those of other packs.
    """
    each, rest = divmod(at_once, packs)
    larger = sum(other > each for other in others)
    return min(lanes, each + (larger < rest)) - size
