"""The `confirm` section: whether the best trials are repeated once the search has ended."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from trainables.specs.base import Spec


def confirm_name(source: str) -> str:
    """The default name of the experiment that repeats the best trials of `source`."""
    return f"{source}-confirm"


USUAL_SEEDS = 5
"""The number of new seeds if neither seeds nor folds are given."""
BOTH = "takes seeds or folds, not both, as each fold has a seed of its own; remove one"


class ConfirmSpec(Spec):
    """How many of the best trials are repeated over how many new seeds, as an experiment `NAME-confirm`."""

    trials: Annotated[int, Field(ge=1, le=100)] = 3
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    """New seeds; 5 if neither seeds nor folds are given."""
    folds: Annotated[int, Field(ge=2, le=1000)] | None = None
    """In place of seeds: the parts of a cross-validation, each of which judges the trials once."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.seeds is not None and self.folds is not None:
            raise ValueError(BOTH)
        return self
