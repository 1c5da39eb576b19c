"""The `search` section: the sampler that proposes configurations, and their number."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from trainables.specs.base import Count, Spec


class TpeSpec(Spec):
    """Optuna's tree-structured Parzen estimator, multivariate and with conditional groups."""

    startup_trials: Annotated[int, Field(ge=0)] = 10
    """The number of random trials before the sampler uses its model of good configurations."""


class RandomSpec(Spec):
    """Random configurations."""


class GridSpec(Spec):
    """Every configuration once."""


ALGORITHMS = ("tpe", "random", "grid")
"""Keys of the sections that name an algorithm; exactly one is given."""


class SearchSpec(Spec):
    """How configurations are proposed, how many, which ones first, and from which earlier experiments."""

    # `from` is a Python keyword, so the field needs an alias.
    model_config = ConfigDict(serialize_by_alias=True)

    tpe: TpeSpec | None = None
    random: RandomSpec | None = None
    grid: GridSpec | None = None
    trials: Count | None = None
    """The number of trials; not needed for a grid."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    first: tuple[dict[str, JsonValue], ...] = ()
    """Configurations to try before any other, each complete, by dotted name."""
    from_: Annotated[tuple[str, ...], Field(alias="from")] = ()
    """Earlier experiments, by name or path; the search learns from their finished trials."""

    @model_validator(mode="after")
    def _one_algorithm(self) -> Self:
        given = [kind for kind in ALGORITHMS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"needs exactly one of {', '.join(ALGORITHMS)}; got {' and '.join(given)}")
        if not given:
            # The value is frozen but still under construction; a "before" validator would lose strict JSON.
            self.__dict__["tpe"] = TpeSpec()
        return self

    @property
    def algorithm(self) -> str:
        """The key of the section that is given, such as tpe."""
        return next(kind for kind in ALGORITHMS if getattr(self, kind) is not None)

    @property
    def section(self) -> Spec:
        """The settings of the algorithm."""
        section: Spec = getattr(self, self.algorithm)
        return section
