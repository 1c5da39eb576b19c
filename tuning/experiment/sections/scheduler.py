"""The `scheduler` section: which trials stop early."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from trainables.specs.base import Count, Hundredths, Spec


class AshaSpec(Spec):
    """Asynchronous successive halving with one bracket."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial runs before it can be stopped: the first rung."""
    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 3.0
    """One in this many trials of each rung continues."""


class MedianSpec(Spec):
    """Stops a trial if its objective is worse than the median of the other trials' running averages."""

    grace_epochs: Hundredths = 1.0
    """Epochs that every trial runs before it can be stopped."""
    min_trials: Count = 3
    """The number of trials to compare with before any is stopped."""


class SchedulerSpec(Spec):
    """The rule that stops trials early: asha or median; no rule if both are absent (`none` in the file)."""

    asha: AshaSpec | None = None
    median: MedianSpec | None = None

    @property
    def rule(self) -> str | None:
        """The key of the section that is given, such as asha; None if no trial is stopped early."""
        return next((name for name in SchedulerSpec.model_fields if getattr(self, name) is not None), None)

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
