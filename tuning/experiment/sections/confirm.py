"""The `confirm` section: whether the best trials are repeated once the search has ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainables.specs.base import Spec


def confirm_name(source: str) -> str:
    """The default name of the experiment that repeats the best trials of `source`."""
    return f"{source}-confirm"


class ConfirmSpec(Spec):
    """How many of the best trials are repeated over how many new seeds, as an experiment `NAME-confirm`."""

    trials: Annotated[int, Field(ge=1, le=100)] = 3
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
