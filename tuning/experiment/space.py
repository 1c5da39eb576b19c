"""The search space: parameters with conditions.

A parameter is a dotted path into `TrialConfig` with one domain or several alternatives; their conditions
decide which one applies, at most one at a time. A parameter in an adapter's section (`lora.rank`) exists
only if `adapter`, when that is searched too, has that section's name. `tuning.experiment.checks` checks
whether a space fits `TrialConfig`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from pydantic import ConfigDict, JsonValue, RootModel

from trainables.specs.adapters import SECTIONS
from tuning.experiment.alternative import (
    Alternative,
    Suggests,
    Values,
    as_list,
    canonical_json,
    describe_domain,
    listed_when,
)

ADAPTER = "adapter"
SECTION_NAMES = frozenset(adapter.value for adapter in SECTIONS)
"""First parts of names that belong to one adapter."""


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

    def labelled(self) -> Iterator[tuple[str, Mapping[str, Sequence[JsonValue]], Alternative, str]]:
        """Each alternative of each parameter, as its name, its conditions, itself, and its label.

        The label is the name for Optuna, see `suggest`. Parents come before what depends on them.
        """
        for name, options in self._plan:
            for when, alternative, label in options:
                yield name, when, alternative, label

    def active(self, name: str, values: Mapping[str, JsonValue]) -> int | None:
        """The index of the alternative of `name` that applies given `values`; None if none does."""
        for index, when in enumerate(self.conditions(name)):
            if _holds(when, values):
                return index
        return None

    def scaled(self, name: str) -> bool:
        """Whether any alternative of `name` is scaled with another setting."""
        return any(alternative.scale_with for alternative in self.root.get(name, ()))

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


def config_hash(params: Mapping[str, JsonValue]) -> str:
    """A hash that is the same for equal configurations: key order and 4 or 4.0 make no difference."""
    return hashlib.sha256(canonical_json(dict(params)).encode()).hexdigest()[:16]


def _holds(when: Mapping[str, Sequence[JsonValue]], values: Mapping[str, JsonValue]) -> bool:
    return all(name in values and values[name] in allowed for name, allowed in when.items())


def _unique(name: str, when: Mapping[str, Sequence[JsonValue]]) -> str:
    shown = [
        f"{parent}={'|'.join(v if isinstance(v, str) else json.dumps(v) for v in values)}"
        for parent, values in sorted(when.items())
    ]
    return f"{name}@{','.join(shown)}"
