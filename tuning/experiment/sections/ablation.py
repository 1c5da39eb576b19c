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
    """One level of the factor: its name in tables, and the settings that define it, by dotted name."""

    name: Annotated[str, Field(min_length=1)]
    settings: Annotated[dict[str, JsonValue], Field(min_length=1)]
    retuned: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings that were tuned for this level alone before the comparison."""
    value: float | None = None
    """Where trials are confirmed: the objective on validation images for which the search chose this one."""

    @property
    def whole(self) -> dict[str, JsonValue]:
        """All settings in which the level differs from the base."""
        return {**self.settings, **self.retuned}


class AblationStage(StrEnum):
    """The purpose of a designed experiment."""

    RETUNE = "retune"
    """Find settings for each level, on validation images."""
    COMPARE = "compare"
    """Compare the levels over seeds."""
    CONFIRM = "confirm"
    """Repeat the best trials of a search over seeds; each is a level, and all pairs are compared."""

    @property
    def compares(self) -> bool:
        """Whether its trials are compared, so that they are scored on test images."""
        return self is not AblationStage.RETUNE


class AblationSpec(Spec):
    """A designed experiment: every level with every seed. `adaptertune ablate` and `confirm` write it."""

    of: Annotated[str, Field(min_length=1)]
    """The experiment that the design is based on."""
    trial: Annotated[int, Field(ge=0)]
    """The trial of that experiment with the settings that all levels share."""
    factor: Annotated[str, Field(min_length=1)]
    """What is varied: a setting, or the name of a ready-made study."""
    levels: Annotated[tuple[AblationLevel, ...], Field(min_length=1)]
    reference: str
    """The level that the others are compared with."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)] | None = None
    """Where trials are confirmed over folds: their number. Run number i of a level has fold i and seed i."""
    stage: AblationStage = AblationStage.COMPARE
    notes: tuple[str, ...] = ()
    """What readers of the result must know about the design."""

    @model_validator(mode="after")
    def _valid(self) -> Self:
        names = [level.name for level in self.levels]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"levels must have different names, got {', '.join(twice)} more than once")
        if self.reference not in names:
            raise ValueError(f"reference must be one of the levels {', '.join(names)}, got {self.reference}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must differ: a seed given twice would repeat the same trial")
        if self.folds is not None and len(self.seeds) != self.folds:
            raise ValueError(f"needs a seed for each of {self.folds} folds, got {len(self.seeds)}")
        if self.pivot is None and self.stage is not AblationStage.CONFIRM:
            raise ValueError("levels must differ in one setting that all of them set")
        if len({config_hash(level.settings) for level in self.levels}) < len(self.levels):
            raise ValueError("levels must differ in their settings")
        return self

    @property
    def unit(self) -> str:
        """What pairs the runs of the levels, in words."""
        return "seed" if self.folds is None else "fold"

    @property
    def overlap(self) -> float:
        """Images that judge a run divided by those that it trained on, where runs share these; else 0."""
        return 0.0 if self.folds is None else 1 / (self.folds - 1)

    @property
    def pivot(self) -> str | None:
        """The first setting with a different value at each level; None only where trials are confirmed."""
        for name in self.levels[0].settings:
            values = [level.settings[name] for level in self.levels if name in level.settings]
            if len({config_hash({name: value}) for value in values}) == len(self.levels):
                return name
        return None
