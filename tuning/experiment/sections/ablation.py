"""The `ablation` section of a designed experiment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    Field,
    JsonValue,
    model_validator,
)

from trainables.specs.base import Spec
from tuning.experiment.space import config_hash


class AblationLevel(Spec):
    """One side of a comparison: its name in tables, and the settings that make it, by dotted names."""

    name: Annotated[str, Field(min_length=1)]
    settings: Annotated[dict[str, JsonValue], Field(min_length=1)]
    retuned: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings that were searched for this level alone before it was compared."""

    @property
    def whole(self) -> dict[str, JsonValue]:
        """Both: all in which it differs from the base."""
        return {**self.settings, **self.retuned}


class AblationStage(StrEnum):
    """What a designed experiment is for."""

    RETUNE = "retune"
    """To find settings for each level, on validation images."""
    COMPARE = "compare"
    """To compare the levels over seeds."""


class AblationSpec(Spec):
    """A designed experiment: every level with every seed. `adaptertune ablate` writes it."""

    of: Annotated[str, Field(min_length=1)]
    """The experiment that it starts from."""
    trial: Annotated[int, Field(ge=0)]
    """The trial there whose settings all levels share."""
    factor: Annotated[str, Field(min_length=1)]
    """What is varied: a setting, or a ready study's name."""
    levels: Annotated[tuple[AblationLevel, ...], Field(min_length=1)]
    reference: str
    """The level that the others are compared with."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]
    stage: AblationStage = AblationStage.COMPARE
    notes: tuple[str, ...] = ()
    """What a reader of the result must know of the design."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [level.name for level in self.levels]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"levels must have different names, got {', '.join(twice)} more than once")
        if self.reference not in names:
            raise ValueError(f"reference must be one of the levels {', '.join(names)}, got {self.reference}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must differ: a seed that comes twice is the same trial")
        if self.pivot is None:
            raise ValueError("levels must differ in one setting that all of them name")
        return self

    @property
    def pivot(self) -> str | None:
        """The first setting whose value is another one at each level; a design that was read has one."""
        for name in self.levels[0].settings:
            values = [level.settings[name] for level in self.levels if name in level.settings]
            if len({config_hash({name: value}) for value in values}) == len(self.levels):
                return name
        return None
