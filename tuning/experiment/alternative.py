"""One alternative of a parameter: its domain, and the condition under which it applies."""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, JsonValue, model_serializer, model_validator

from trainables.specs.base import Positive, Spec
from tuning.experiment.file_errors import describe_value
from tuning.experiment.prior import Prior

DOMAIN_KEYS = ("choice", "int", "float", "log", "step", "prior", "scale_with", "when")
"""The keys of a domain in the file."""
Values = dict[str, JsonValue]
"""Parameter values by dotted name."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


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
    prior: Prior | None = None
    """What is probably good; the search draws from it while it knows little."""
    scale_with: str | None = None
    """The adapter's setting with which a learning rate is scaled, see `tuning.experiment.scaled_rates`."""
    when: dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Values of other parameters under which this domain applies: any one of those listed for each."""

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        given: dict[str, Any] = {"choice": self.choice, "int": self.whole, "float": self.real}
        given |= {"log": self.log or None, "step": self.step, "scale_with": self.scale_with}
        shown = {key: list(v) if isinstance(v, tuple) else v for key, v in given.items() if v is not None}
        if self.prior is not None:
            shown["prior"] = self.prior.model_dump(mode="json")
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
                if (key := canonical_json(value)) in seen:
                    yield "choice", f"contains {json.dumps(value)} twice; list each value once"
                seen.append(key)
            yield from self._prior_errors()
            return
        low, high = self.span
        if low > high:
            yield given[0], f"must run from low to high, got [{low:g}, {high:g}]"
        elif self.log and low <= 0:
            yield given[0], f"must be above 0 with log: true, got [{low:g}, {high:g}]"
        else:
            yield from self._prior_errors()
        if self.step is not None:
            if self.log:
                yield "step", "cannot be combined with log: true; remove one of them"
            elif self.step > high - low >= 0:
                yield "step", f"must not exceed the range, got {self.step:g} for [{low:g}, {high:g}]"
            if self.whole is not None and not float(self.step).is_integer():
                yield "step", f"must be a whole number with int, got {self.step:g}"

    def _prior_errors(self) -> Iterator[tuple[str, str]]:
        if self.prior is not None and self.match(self.prior.value) is None:
            yield "prior.value", f"must be {describe_domain(self)}, got {describe_value(self.prior.value)}"

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
            key = canonical_json(value)
            return next(((own,) for own in self.choice if canonical_json(own) == key), None)
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

    def scaled(self, scale: float) -> Alternative:
        """The domain with all numbers multiplied by `scale`, for what does not scale them itself."""
        if scale == 1.0:
            return self
        numbers = {
            "choice": self.choice
            and tuple(v * scale if isinstance(v, int | float) else v for v in self.choice),
            "real": self.real and (self.real[0] * scale, self.real[1] * scale),
            "step": self.step and self.step * scale,
        }
        return self.model_copy(update=numbers | {"scale_with": None, "prior": None})

    def nearest(self, value: float) -> JsonValue:
        """The value of a range that is nearest to one between its ends."""
        return value if self.size is None else self.at(round((value - self.span[0]) / (self.step or 1)))

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


def as_list(value: Any) -> list[Any]:
    """A list unchanged, anything else as a list with one item."""
    return list(value) if isinstance(value, list | tuple) else [value]


def listed_when(domain: Any) -> Any:
    """A domain in the file's notation, with the values of its conditions as lists."""
    if not isinstance(domain, dict) or not isinstance(domain.get("when"), dict):
        return domain
    return domain | {"when": {name: as_list(values) for name, values in domain["when"].items()}}


def _tidy(value: float) -> float:
    """A number without floating-point noise: 0.30000000000000004 becomes 0.3."""
    return float(f"{value:.12g}")


def canonical_json(value: Any) -> str:
    """A value as JSON text that is the same for equal values."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
