"""What a user believes of a parameter before anything has run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from trainables.specs.base import Spec


class Prior(Spec):
    """The value that is probably good, and how sure that is. `tuning.search.samplers.prior` draws from it."""

    value: JsonValue
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.75
    """The share of the first trials that follow the prior, and how near to the value they stay: numbers have
    a standard deviation of 1 - confidence, as a share of the range; of a choice, so many take the value."""
