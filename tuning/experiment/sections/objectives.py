"""Further objectives, and the section `constraints`: what is weighed besides the first objective."""

from __future__ import annotations

import math
from typing import Self

from pydantic import field_validator, model_validator

from trainables.specs.base import Spec
from trainables.specs.workload import Direction


class FurtherObjective(Spec):
    """An objective after the first one: a metric on validation images, or a cost.

    metric: as in `ObjectiveSpec`, or `parameters`, `macs`, `peak_mb`, `latency_ms`.
    """

    metric: str
    mode: Direction | None = None


class BoundSpec(Spec):
    """What a metric or a cost of a trial must keep to: exactly one bound."""

    at_most: float | None = None
    at_least: float | None = None

    @field_validator("at_most", "at_least")
    @classmethod
    def _finite(cls, bound: float | None) -> float | None:
        if bound is not None and not math.isfinite(bound):
            raise ValueError(f"must be a finite number, got {bound}")
        return bound

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            got = "none" if self.at_most is None else "both"
            raise ValueError(f"needs exactly one of at_most and at_least, got {got}")
        return self

    def violation(self, value: float) -> float:
        """By how much a value breaks the bound, as a share of the bound; 0 or less if it keeps to it."""
        bound = self.at_most if self.at_most is not None else self.at_least
        assert bound is not None
        beyond = value - bound if self.at_most is not None else bound - value
        return beyond / (abs(bound) or 1.0)

    def __str__(self) -> str:
        """The bound in words: `at most 8000`."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
