"""Smaller images in the first epochs of a trial: the size is a function of the epoch alone."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Self

from pydantic import Field, model_validator

from trainables.specs.base import Count, Spec

Size = tuple[Count, Count]
"""(height, width) in pixels."""


class SmallerImages(Spec):
    """The sizes of a trial's images, stage by stage: it trains and is validated at one size in each stage.

    until: the whole epochs at which the next stage begins, rising; after the last one images have the model's
    own size.  sizes: of all stages, the last one the model's own; empty: by `shares`.
    shares: of the model's own sides, one for each stage before the last.
    """

    until: Annotated[tuple[Count, ...], Field(min_length=1)]
    sizes: tuple[Size, ...] = ()
    shares: tuple[float, ...] = ()

    def stage(self, epoch: int) -> int:
        """The number of the stage in which a trial trains epoch number `epoch`, counted from 0."""
        return bisect_right(self.until, epoch)

    @property
    def stages(self) -> int:
        """How many stages there are, that of the model's own size included."""
        return len(self.until) + 1

    @property
    def full_after(self) -> int:
        """The epochs before the first one at the model's own size: reports up to here are not final ones."""
        return self.until[-1]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sorted(set(self.until)) != list(self.until):
            raise ValueError(f"until must rise, got {list(self.until)}")
        given = len(self.sizes) - 1 if self.sizes else len(self.shares)
        if given != len(self.until):
            raise ValueError(f"{len(self.until)} smaller sizes are needed, got {given}")
        return self
