"""How images are divided into the splits that the data do not give."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from trainables.specs.base import Share, Spec


class SplitSpec(Spec):
    """Shares of the splits that the source does not provide, drawn by image with a seed.

    folds: divide the images that are left after `test` into this many parts. Part number `fold`
    (from 0) is for validation, the others are for training; `train` and `validation` are then ignored.
    """

    train: Share = 0.7
    validation: Share = 0.15
    test: Share = 0.15
    seed: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.folds is None and self.fold:
            raise ValueError(f"fold {self.fold} needs folds: the number of parts to divide the images into")
        if self.folds is not None:
            if self.fold >= self.folds:
                raise ValueError(f"fold must be 0 to {self.folds - 1} of {self.folds} folds, got {self.fold}")
            if self.test >= 1:
                raise ValueError("test must be below 1, so that images are left for the folds")
            return self
        if abs(self.train + self.validation + self.test - 1.0) > 1e-6:
            raise ValueError("train, validation and test must add up to 1")
        if not self.train or not self.validation:
            raise ValueError("train and validation must both be above 0")
        return self


FOLDS_TAKEN = (
    "divides the images of train, but the data already has validation images; "
    "remove folds, or remove the validation images"
)
"""Why a source with validation images cannot be divided into folds."""
