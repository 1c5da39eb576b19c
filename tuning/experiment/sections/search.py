"""The `search` section: the sampler that proposes configurations, and their number."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from trainables.specs.base import Count, Spec
from tuning.experiment.sections.search_stop import StopSpec

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class TpeSpec(Spec):
    """Optuna's tree-structured Parzen estimator, multivariate and with conditional groups."""

    startup_trials: Annotated[int, Field(ge=0)] = 10
    """The number of random trials before the sampler uses its model of good configurations."""


class GpSpec(Spec):
    """Optuna's Gaussian process with expected improvement."""

    startup_trials: Count = 10
    """The number of trials with a value before the sampler uses its model; they are random."""
    deterministic: bool = False
    """Whether equal configurations have equal values, so that no noise is modelled."""


class CmaesSpec(Spec):
    """CMA-ES: a normal distribution that follows the best configurations. For numbers without conditions."""

    population: Annotated[int, Field(ge=4)] | None = None
    """Trials by which the distribution is updated; 4 + floor(3 ln n) of n settings if it is not given."""
    sigma: Annotated[float, Field(gt=0.0, le=1.0)] = 1 / 6
    """The standard deviation at first, as a share of each setting's range."""


class Nsga2Spec(Spec):
    """NSGA-II: a genetic algorithm that crosses good configurations."""

    population: Annotated[int, Field(ge=2)] = 20
    """Trials of a generation; those of the first one are random."""
    crossover: Probability = 0.9
    """The probability that a configuration has two parents, not one."""
    swap: Probability = 0.5
    """The probability that a setting comes from the second parent."""
    mutation: Probability | None = None
    """The probability that a setting is drawn again; 1 / the number of settings if it is not given."""


class QmcSpec(Spec):
    """A quasi-random sequence, which covers the space more evenly than random configurations do."""

    sequence: Literal["sobol", "halton"] = "sobol"
    scramble: bool = True
    """Whether the sequence is scrambled by `search.seed`; otherwise it does not depend on it."""


class RandomSpec(Spec):
    """Random configurations."""


class GridSpec(Spec):
    """Every configuration once."""


class OptunaSpec(Spec):
    """Any other of Optuna's samplers, by the name of its class."""

    sampler: Annotated[str, Field(min_length=1)]
    """A class of `optuna.samplers`, such as NSGAIIISampler, or of `package`."""
    package: Annotated[str, Field(min_length=1)] | None = None
    """A package of OptunaHub, such as samplers/auto_sampler. Its code is downloaded and run."""
    ref: str | None = None
    """The commit of OptunaHub's registry that `package` is taken from, so that it stays the same."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """The arguments of the class, without `seed`."""
    replayable: bool = True
    """Whether a resumed search must propose what an uninterrupted one would have proposed. This is checked
    before the launch; `false` allows a sampler that fails the check."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if (self.package is None) != (self.ref is None):
            raise ValueError("needs package and ref together: ref is a commit of OptunaHub's registry")
        return self

    @field_validator("ref")
    @classmethod
    def _commit(cls, ref: str | None) -> str | None:
        if ref is not None and not re.fullmatch("[0-9a-f]{40}", ref):
            raise ValueError(f"must be the 40 hexadecimal digits of a commit, got '{ref}'")
        return ref


ALGORITHMS = ("tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid", "optuna")
"""Keys of the sections that name an algorithm; exactly one is given."""
LEARN_NOTHING = frozenset({"qmc", "random", "grid"})
"""Algorithms that do not learn from the values of trials."""

TAKE_PRIORS = ("tpe", "random", "gp", "nsga2")
"""Algorithms that draw from the priors of a space while they know little."""


class SearchSpec(Spec):
    """How configurations are proposed, how many, which ones first, and from which earlier experiments."""

    # `from` is a Python keyword, so the field needs an alias.
    model_config = ConfigDict(serialize_by_alias=True)

    tpe: TpeSpec | None = None
    gp: GpSpec | None = None
    cmaes: CmaesSpec | None = None
    nsga2: Nsga2Spec | None = None
    qmc: QmcSpec | None = None
    random: RandomSpec | None = None
    grid: GridSpec | None = None
    optuna: OptunaSpec | None = None
    trials: Count | None = None
    """The number of trials; not needed for a grid, or with `epochs`."""
    epochs: Count | None = None
    """A budget of training epochs, of all trials together: once they have run so many, none starts."""
    stop: StopSpec | None = None
    """When the search stops by itself."""
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

    @property
    def learns(self) -> bool:
        """Whether proposals depend on the values of earlier trials."""
        return self.algorithm not in LEARN_NOTHING

    @property
    def may_end(self) -> bool:
        """Whether the search may end before its number of trials."""
        return self.epochs is not None or self.stop is not None

    def population(self, settings: int) -> int | None:
        """How many trials a generation has; None without generations. settings: the number of settings."""
        if self.nsga2 is not None:
            return self.nsga2.population
        if self.cmaes is not None:
            return self.cmaes.population or 4 + math.floor(3 * math.log(max(1, settings)))
        return None
