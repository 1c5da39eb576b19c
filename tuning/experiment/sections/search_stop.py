"""The section `search.stop`: when a search stops by itself."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from trainables.specs.base import Count, NotNegative, Spec


class TerminatorSpec(Spec):
    """Optuna's Terminator: a bound on what is left to gain, from a Gaussian process over finished trials."""

    gain: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """The search stops when at most this much of the objective is left to gain."""
    trials: Annotated[int, Field(ge=5)] = 20
    """Trials that ran to their end before the bound is asked for."""


class StopSpec(Spec):
    """When nothing more is proposed: after trials without a gain, or when little is left to gain."""

    after: Count | None = None
    """The search stops when this many trials in a row brought no gain."""
    gain: NotNegative | None = None
    """With `after`: by how much the objective must become better, to count as a gain; 0 if absent."""
    terminator: TerminatorSpec | None = None
    """In place of `after`: a bound on the regret."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.after is not None and self.terminator is not None:
            raise ValueError("needs after or terminator, got both; remove one")
        if self.after is None and self.gain is not None:
            raise ValueError(
                "needs after, the number of trials without a gain, such as {after: 20, gain: 0.002};"
                " the gain of a terminator is terminator.gain"
            )
        if self.after is None and self.terminator is None:
            raise ValueError("needs after, such as {after: 20, gain: 0.002}, or terminator")
        return self

    @property
    def waits_for(self) -> int:
        """The number of trials before which the search does not stop, counted anew when it is extended."""
        if self.terminator is not None:
            return self.terminator.trials
        assert self.after is not None
        return self.after

    @property
    def in_words(self) -> str:
        """When the search stops."""
        if self.terminator is not None:
            return f"when at most {self.terminator.gain:g} is left to gain"
        return f"after {self.after} trials without a gain above {self.gain or 0.0:g}"
