"""The search space: parameters with conditions.

A parameter is a dotted path into `TrialConfig` with one domain or several alternatives; their conditions
decide which one applies, at most one at a time. A parameter in an adapter's section (`lora.rank`) exists
only if `adapter`, when that is searched too, has that section's name. `tuning.experiment.checks` checks
whether a space fits `TrialConfig`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Protocol, Self

from pydantic import ConfigDict, Field, JsonValue, RootModel, model_serializer, model_validator

from trainables.specs.adapters import SECTIONS
from trainables.specs.base import Positive, Spec

ADAPTER = "adapter"
SECTION_NAMES = frozenset(adapter.value for adapter in SECTIONS)
"""First parts of names that belong to one adapter."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Values = dict[str, JsonValue]
"""Parameter values by dotted name."""


class Suggests(Protocol):
    """An object that draws values, such as an `optuna.Trial`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from low to high."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from low to high."""
        ...


class DomainError(ValueError):
    """All errors of one domain, as (key, rule) pairs."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {rule}" if key else rule for key, rule in faults))
        self.faults = faults


class Alternative(Spec):
    """One domain of a parameter: a choice, whole numbers or real numbers, and when it applies.

    `int` and `float` in the file are `whole` and `real` here: (low, high), both included.
    """

    choice: Annotated[tuple[JsonValue, ...], Field(min_length=1)] | None = None
    whole: tuple[int, int] | None = Field(default=None, alias="int")
    real: tuple[Finite, Finite] | None = Field(default=None, alias="float")
    log: bool = False
    step: Positive | None = None
    when: dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Values of other parameters under which this domain applies: any one of those listed for each."""

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        given: dict[str, Any] = {"choice": self.choice, "int": self.whole, "float": self.real}
        given |= {"log": self.log or None, "step": self.step}
        shown = {key: list(v) if isinstance(v, tuple) else v for key, v in given.items() if v is not None}
        if self.when:
            shown["when"] = {name: list(values) for name, values in self.when.items()}
        return shown

    @model_validator(mode="after")
    def _valid(self) -> Self:
        if errors := list(self._errors()):
            raise DomainError(errors)
        return self

    def _errors(self) -> Iterator[tuple[str, str]]:
        kinds = {"choice": self.choice, "int": self.whole, "float": self.real}
        given = [kind for kind, value in kinds.items() if value is not None]
        if len(given) != 1:
            yield "", f"needs exactly one of choice, int, float; got {' and '.join(given) or 'none of them'}"
            return
        if self.choice is not None:
            for key in ("log", "step"):
                if getattr(self, key):
                    yield key, "applies to int and float, not to choice"
            seen: list[str] = []
            for value in self.choice:
                if (key := _canonical(value)) in seen:
                    yield "choice", f"contains {json.dumps(value)} twice; list each value once"
                seen.append(key)
            return
        low, high = self.span
        if low > high:
            yield given[0], f"must run from low to high, got [{low:g}, {high:g}]"
        elif self.log and low <= 0:
            yield given[0], f"must be above 0 with log: true, got [{low:g}, {high:g}]"
        if self.step is not None:
            if self.log:
                yield "step", "cannot be combined with log: true; remove one of them"
            elif self.step > high - low >= 0:
                yield "step", f"must not exceed the range, got {self.step:g} for [{low:g}, {high:g}]"
            if self.whole is not None and not float(self.step).is_integer():
                yield "step", f"must be a whole number with int, got {self.step:g}"

    @property
    def span(self) -> tuple[float, float]:
        """Low and high of a range; (0, 0) for a choice."""
        low, high = self.whole or self.real or (0, 0)
        return low, high

    @property
    def size(self) -> int | None:
        """The number of values; None for real numbers without a step."""
        if self.choice is not None:
            return len(self.choice)
        if self.step is None and self.whole is None:
            return 1 if self.span[0] == self.span[1] else None
        low, high = self.span
        return math.floor((high - low) / (self.step or 1) + 1e-9) + 1

    def at(self, index: int) -> JsonValue:
        """The value at position `index` of a domain that has a size."""
        if self.choice is not None:
            return self.choice[index]
        low = self.span[0]
        if self.whole is not None:
            return int(low) + index * int(self.step or 1)
        return _tidy(low + index * (self.step or 1.0))

    @property
    def highest(self) -> JsonValue:
        """The largest value of a range; with a step it may be below `high`."""
        return float(self.span[1]) if self.size is None else self.at(self.size - 1)

    def match(self, value: JsonValue) -> tuple[JsonValue] | None:
        """`value` in this domain's notation, in a tuple; None if the domain does not contain it."""
        if self.choice is not None:
            key = _canonical(value)
            return next(((own,) for own in self.choice if _canonical(own) == key), None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        low, high = self.span[0], self.highest
        assert isinstance(high, int | float)
        if not low - 1e-12 <= value <= high + 1e-12:
            return None
        if self.size is None:
            return (float(value),)
        index = round((value - low) / (self.step or 1))
        own = self.at(index)
        assert isinstance(own, int | float)
        return (own,) if math.isclose(own, value, rel_tol=1e-9, abs_tol=1e-12) else None

    def sample(self, rng: random.Random) -> JsonValue:
        """A random value: uniform, or uniform in its logarithm."""
        if self.log:
            drawn = math.exp(rng.uniform(*(math.log(end) for end in self.span)))
            low, high = self.span
            return min(max(round(drawn), int(low)), int(high)) if self.whole else min(max(drawn, low), high)
        if self.size is None:
            return rng.uniform(*self.span)
        return self.at(rng.randrange(self.size))

    def suggest(self, trial: Suggests, name: str) -> JsonValue:
        """Ask Optuna for a value under `name`."""
        if self.choice is not None:
            with warnings.catch_warnings():
                # Optuna warns that lists as choices work only in memory, which is where our study is.
                warnings.filterwarnings("ignore", message="Choices for a categorical distribution")
                chosen: JsonValue = trial.suggest_categorical(name, list(self.choice))
                return chosen
        low, high = self.span[0], self.highest
        assert isinstance(high, int | float)
        if self.whole is not None:
            whole: int = trial.suggest_int(name, int(low), int(high), step=int(self.step or 1), log=self.log)
            return whole
        step = None if self.step is None or self.size == 1 else float(self.step)
        drawn: float = trial.suggest_float(name, float(low), float(high), step=step, log=self.log)
        return drawn if step is None else self.at(round((drawn - low) / step))


class Space(RootModel[dict[str, tuple[Alternative, ...]]]):
    """Parameters by dotted name, in the file's order. Empty if nothing is searched."""

    model_config = ConfigDict(frozen=True, strict=True)

    root: dict[str, tuple[Alternative, ...]] = {}

    @classmethod
    def parse(cls, written: Mapping[str, Any]) -> Self:
        """Parse a space with dotted names: one domain or a list of them, `when` values single or listed.

        Raises pydantic's ValidationError.
        """
        normal = {name: [listed_when(d) for d in as_list(domains)] for name, domains in written.items()}
        return cls.model_validate_json(json.dumps(normal))

    def __bool__(self) -> bool:
        return bool(self.root)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names in the file's order."""
        return tuple(self.root)

    def conditions(self, name: str) -> list[dict[str, tuple[JsonValue, ...]]]:
        """For each alternative the values of other parameters that it needs, including its adapter."""
        section = name.split(".")[0]
        implied: dict[str, tuple[JsonValue, ...]] = {}
        if section in SECTION_NAMES and ADAPTER in self.root:
            implied[ADAPTER] = (section,)
        return [implied | alternative.when for alternative in self.root[name]]

    def parents(self, name: str) -> set[str]:
        """The parameters that the conditions of `name` depend on."""
        return {parent for when in self.conditions(name) for parent in when}

    def condition_values(self, parent: str) -> list[JsonValue]:
        """The values of `parent` that appear in conditions."""
        found = [when.get(parent, ()) for name in self.root for when in self.conditions(name)]
        return [value for values in found for value in values]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The names, each after those that its conditions depend on. Raises ValueError on a cycle."""
        placed: dict[str, None] = {}
        while len(placed) < len(self.root):
            ready = [
                n
                for n in self.root
                if n not in placed and self.parents(n) & self.root.keys() <= placed.keys()
            ]
            if not ready:
                raise ValueError(
                    f"conditions form a cycle: {', '.join(n for n in self.root if n not in placed)}"
                )
            placed[ready[0]] = None
        return tuple(placed)

    @cached_property
    def _plan(
        self,
    ) -> tuple[tuple[str, tuple[tuple[dict[str, tuple[JsonValue, ...]], Alternative, str], ...]], ...]:
        """In `order`: the name, and for each alternative its conditions, itself, and its name for Optuna."""
        plan = []
        for name in self.order:
            several = len(self.root[name]) > 1
            options = tuple(
                (when, alternative, _unique(name, when) if several else name)
                for when, alternative in zip(self.conditions(name), self.root[name], strict=True)
            )
            plan.append((name, options))
        return tuple(plan)

    def active(self, name: str, values: Mapping[str, JsonValue]) -> int | None:
        """The index of the alternative of `name` that applies given `values`; None if none does."""
        for index, when in enumerate(self.conditions(name)):
            if _holds(when, values):
                return index
        return None

    def suggest(self, trial: Suggests) -> Values:
        """Ask Optuna for a configuration. Alternatives have unique names there (`freezing@adapter=none`)."""
        values: Values = {}
        for name, options in self._plan:
            for when, alternative, label in options:
                if _holds(when, values):
                    values[name] = alternative.suggest(trial, label)
                    break
        return values

    def sample(self, rng: random.Random) -> Values:
        """A random configuration."""
        values: Values = {}
        for name, options in self._plan:
            for when, alternative, _ in options:
                if _holds(when, values):
                    values[name] = alternative.sample(rng)
                    break
        return values

    def grid(self) -> Iterator[Values]:
        """Every configuration once, the last parameter in `order` changing first.

        Raises ValueError for a range of real numbers without a step.
        """
        for name, alternatives in self.root.items():
            if any(a.size is None for a in alternatives):
                raise ValueError(f"{name} has no step, so it cannot be enumerated")
        return self._enumerate(0, {})

    def _enumerate(self, depth: int, values: Values) -> Iterator[Values]:
        if depth == len(self._plan):
            yield dict(values)
            return
        name, options = self._plan[depth]
        chosen = next((a for when, a, _ in options if _holds(when, values)), None)
        if chosen is None:
            yield from self._enumerate(depth + 1, values)
            return
        for index in range(chosen.size or 0):
            values[name] = chosen.at(index)
            yield from self._enumerate(depth + 1, values)
        del values[name]

    def size(self) -> int | None:
        """The number of configurations; None if a range of real numbers has no step."""
        if any(a.size is None for alternatives in self.root.values() for a in alternatives):
            return None
        parents = {parent for name in self.root for parent in self.parents(name)}
        return self._count(0, {}, parents)

    def _count(self, depth: int, values: Values, parents: set[str]) -> int:
        if depth == len(self._plan):
            return 1
        name, options = self._plan[depth]
        chosen = next((a for when, a, _ in options if _holds(when, values)), None)
        if chosen is None:
            return self._count(depth + 1, values, parents)
        assert chosen.size is not None
        if name not in parents:
            return chosen.size * self._count(depth + 1, values, parents)
        total = 0
        for index in range(chosen.size):
            total += self._count(depth + 1, values | {name: chosen.at(index)}, parents)
        return total

    def locate(self, params: Mapping[str, JsonValue]) -> tuple[Values, dict[str, str]]:
        """`params` in the space's notation, and the error at each name; without errors they are inside."""
        values: Values = {}
        errors: dict[str, str] = {}
        for name, options in self._plan:
            chosen = next((a for when, a, _ in options if _holds(when, values)), None)
            if chosen is None and name in params:
                errors[name] = "does not apply: its conditions are not met"
            elif chosen is not None and name not in params:
                errors[name] = "is missing; a configuration must set every parameter that applies"
            elif chosen is not None and (own := chosen.match(params[name])) is None:
                errors[name] = f"must be {describe_domain(chosen)}, got {json.dumps(params[name])}"
            elif chosen is not None and own is not None:
                values[name] = own[0]
        return values, errors


def describe_domain(domain: Alternative) -> str:
    """A domain as text."""
    if domain.choice is not None:
        return "one of " + ", ".join(v if isinstance(v, str) else json.dumps(v) for v in domain.choice)
    low, high = domain.span
    steps = f" in steps of {domain.step:g}" if domain.step is not None else ""
    kind = "a whole number" if domain.whole is not None else "a number"
    return f"{kind} from {low:g} to {high:g}{steps}"


def as_scalar(value: JsonValue) -> str | bool | int | float | None:
    """A parameter's value as a scalar: lists and mappings become JSON text."""
    return value if value is None or isinstance(value, str | bool | int | float) else json.dumps(value)


def config_hash(params: Mapping[str, JsonValue]) -> str:
    """A hash that is the same for equal configurations: key order and 4 or 4.0 make no difference."""
    return hashlib.sha256(_canonical(dict(params)).encode()).hexdigest()[:16]


def as_list(value: Any) -> list[Any]:
    """A list unchanged, anything else as a list with one item."""
    return list(value) if isinstance(value, list | tuple) else [value]


def listed_when(domain: Any) -> Any:
    """A domain in the file's notation, with the values of its conditions as lists."""
    if not isinstance(domain, dict) or not isinstance(domain.get("when"), dict):
        return domain
    return domain | {"when": {name: as_list(values) for name, values in domain["when"].items()}}


def _holds(when: Mapping[str, Sequence[JsonValue]], values: Mapping[str, JsonValue]) -> bool:
    return all(name in values and values[name] in allowed for name, allowed in when.items())


def _unique(name: str, when: Mapping[str, Sequence[JsonValue]]) -> str:
    shown = [
        f"{parent}={'|'.join(v if isinstance(v, str) else json.dumps(v) for v in values)}"
        for parent, values in sorted(when.items())
    ]
    return f"{name}@{','.join(shown)}"


def _tidy(value: float) -> float:
    """A number without floating-point noise: 0.30000000000000004 becomes 0.3."""
    return float(f"{value:.12g}")


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
