"""The `scheduler` section: which trials stop early."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trainables.specs.base import Count, Hundredths, Share, Spec

Factor = Annotated[float, Field(ge=1.1, allow_inf_nan=False)]


class AshaRule(StrEnum):
    """How a trial is compared with others at a rung."""

    THRESHOLD = "threshold"
    """With a percentile of the values that came before, once per rung."""
    RANK = "rank"
    """It is one of the best of the rung, its own value counted; asked again at each later report."""


class FidelitySpec(Spec):
    """What low rungs have less of, besides epochs: `resolution` in the file, for sizes that are chosen."""

    resolution: tuple[tuple[int, int], ...] | None = None
    """(height, width) of the images up to each rung, rising to the model's own at the highest one; one number
    for a square. When absent: 0.5, 0.71 and 1 times the model's own sides."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != "resolution":
                raise PydanticCustomError("fidelity", _FIDELITY)
            return {}
        return value

    @field_validator("resolution", mode="before")
    @classmethod
    def _rising_sizes(cls, value: Any) -> Any:
        if value is None:
            return None
        pairs = [[side, side] if isinstance(side, int) else side for side in value] if _is_list(value) else []
        sizes = [tuple(pair) for pair in pairs if _is_size(pair)]
        rising = all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(sizes))
        if len(sizes) < 2 or len(sizes) < len(pairs) or not rising:
            raise PydanticCustomError("resolution", _SIZES)
        return tuple(sizes)


_FIDELITY = "must be resolution, or sizes such as {resolution: [96, 128, 160]}"
_SIZES = (
    "must be two or more sizes in pixels that rise to that of the model's images, such as [96, 128, 160] or"
    " [[96, 128], [192, 256]]"
)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_size(pair: Any) -> bool:
    sides = pair if _is_list(pair) else ()
    return len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)


class AshaSpec(Spec):
    """Asynchronous successive halving with one bracket."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial runs before it can be stopped: the first rung."""
    reduction_factor: Factor = 3.0
    """One in this many trials of each rung continues."""
    rule: AshaRule = AshaRule.RANK
    """How a trial is compared with others at a rung."""
    within: tuple[str, ...] = ()
    """Parameters of the space: a trial is compared only with trials that have the same values of them."""
    rest: bool = False
    """With rank: where too few trials have come as far to compare with, a trial waits for them."""
    fidelity: FidelitySpec | None = None
    """Low rungs have smaller images, if it is given."""


class HyperbandSpec(Spec):
    """Several brackets of successive halving, each with a later first rung; within a bracket by rank."""

    grace_epochs: Hundredths = 1.0
    """The earliest first rung is the first one from here on; the last rung of each bracket is at the end."""
    reduction_factor: Factor = 3.0
    """One in this many trials of each rung continues."""
    brackets: Count | None = None
    """The most brackets; those with the earliest first rungs are taken. All if absent."""


class PashaSpec(Spec):
    """ASHA by rank whose largest budget grows only while the order of the trials still changes."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial runs before it can be stopped: the first rung."""
    reduction_factor: Factor = 3.0
    """One in this many trials of each rung continues."""


class MedianSpec(Spec):
    """Stops a trial if its objective is worse than the median of the other trials' running averages."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial runs before it can be stopped."""
    min_trials: Count = 3
    """The number of trials to compare with before any is stopped."""


class DominanceSpec(Spec):
    """Successive halving for several objectives: a trial stops if too many of its rung dominate it."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial runs before it can be stopped: the first rung."""
    reduction_factor: Factor = 3.0
    """A trial goes on while fewer than one in this many of its rung dominate it."""


class PbtSpec(Spec):
    """Population-based training: the worst trials go on from the state of the best, with other settings."""

    interval_epochs: Count = 1
    """Epochs after which all trials are compared, again and again."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    """The share of the population that is replaced, and the share that replaces it."""
    explore: Annotated[tuple[str, ...], Field(min_length=1)] = ("learning_rate",)
    """Parameters of the space that change when a trial is replaced."""
    resample: Share = 0.25
    """The probability that such a parameter is drawn anew from the space, instead of moved a little."""


class SchedulerSpec(Spec):
    """The rule that stops trials early: at most one; no rule if all are absent (`none` in the file)."""

    asha: AshaSpec | None = None
    median: MedianSpec | None = None
    hyperband: HyperbandSpec | None = None
    pasha: PashaSpec | None = None
    dominance: DominanceSpec | None = None
    pbt: PbtSpec | None = None

    @property
    def rule(self) -> str | None:
        """The key of the section that is given, such as asha; None if no trial is stopped early."""
        return next((name for name in SchedulerSpec.model_fields if getattr(self, name) is not None), None)

    @property
    def smaller_images(self) -> bool:
        """Whether trials begin with smaller images."""
        return self.asha is not None and self.asha.fidelity is not None

    @property
    def section(self) -> Spec | None:
        """The settings of the rule."""
        section: Spec | None = getattr(self, self.rule) if self.rule is not None else None
        return section

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        *others, last = "none", *SchedulerSpec.model_fields
        given = [name for name in SchedulerSpec.model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"must be exactly one of {', '.join(others)} and {last}; got {' and '.join(given)}"
            )
        return self
