"""Checks that every configuration of a space is valid, by enumeration where settings interact.

Settings interact in small groups (adapter and freezing; AdaLoRA's ranks; …). Each group is enumerated
with all other settings at one value. Of a range only the ends are tried, because every rule is monotone
in it; the exception is a block count, which must divide a width, so every value of it is tried. All
configurations that are tried are reachable, so every error is real. Random configurations follow, for
interactions that no group covers.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from pydantic import JsonValue, ValidationError

from trainables.adapters.rules import check_adapter_fits
from trainables.specs.adapters import Freezing
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ModelSpec, Task
from trainables.wording import plural
from tuning.experiment.alternative import Alternative, Values
from tuning.experiment.checks.draft import Draft
from tuning.experiment.checks.local_checkpoint import config_of
from tuning.experiment.file_errors import Violation, translate_errors
from tuning.experiment.space import Space

GROUPS: tuple[tuple[str, ...], ...] = (
    ("freezing", "adapter", "unfreeze_epoch", "frozen_blocks", "epochs", "peft", "peft.method"),
    ("head_learning_rate", "rates"),
    ("warmup", "flat", "schedule"),
    ("adalora.target_rank", "adalora.init_rank"),
    ("adalora", "adalora.tinit", "adalora.tfinal", "adalora.interval", "epochs", "batch_size", "accumulate"),
    ("localized_lora", "localized_lora.blocks", "targets", "adapter"),
    ("blocks", "adapter"),
    ("head.kind", "head.width", "head.blocks"),
    ("sampling.power", "sampling.balance"),
)
"""Settings that interact; an error is shown at the first setting of a group that the file contains."""
WHOLE = frozenset({"localized_lora.blocks"})
"""Whole numbers of which every value is tried."""
MOST = 1_000
"""The most configurations of one group. A larger group is tried at the ends of its numbers, and if that
is still too many, at this number of random corners."""
PROBES = 200
"""The number of random configurations."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a backbone, known without loading it; None if unknown."""

    hidden: int | None = None
    blocks: int | None = None
    inner: int | None = None


def check_configurations(draft: Draft) -> list[Violation]:
    """The errors in configurations of the space, each kind of error once, with an example."""
    if idle := list(_never_apply(draft.space)):
        return idle
    finder = _Finder(draft)
    for group in GROUPS:
        for values in _assignments(draft.space, group):
            finder.check_configuration(values, group)
    if draft.space:
        rng = random.Random(0)
        for _ in range(PROBES):
            finder.check_configuration(draft.space.sample(rng), ())
    return finder.violations()


def shape_of(model: ModelSpec, task: Task) -> Shape:
    """The sizes in the config.json of a local checkpoint; unknown for a checkpoint on the hub."""
    found = config_of(model, task)
    numbers = [found.get(key) for key in ("hidden_size", "num_hidden_layers", "intermediate_size")]
    return Shape(*(n if isinstance(n, int) and n > 0 else None for n in numbers))


def _never_apply(space: Space) -> Iterator[Violation]:
    """Alternatives with conditions that are never met together."""
    seen: set[tuple[str, int]] = set()
    for parents in {frozenset(space.parents(name)) for name in space.root}:
        assignments = _assignments(space, tuple(sorted(parents)))
        if len(assignments) == MOST:
            return  # some may be missing, so nothing can be concluded
        for values in assignments:
            seen |= {(name, n) for name in values if (n := space.active(name, values)) is not None}
    for name, domains in space.root.items():
        for number in range(len(domains)):
            if (name, number) not in seen:
                yield Violation(
                    ("space", name, number), "never applies: its conditions are never met together"
                )


def _assignments(space: Space, group: tuple[str, ...]) -> list[Values]:
    """Configurations in which the group and its parents take all their relevant values."""
    varied: set[str] = set()
    reach = [name for name in group if name in space.root]
    while reach:
        name = reach.pop()
        if name not in varied:
            varied.add(name)
            reach += space.parents(name) & space.root.keys()
    for ends in (False, True):
        found = list(islice(_extend(_Pick(space, varied, ends), 0, {}), MOST + 1))
        if len(found) <= MOST:
            return found
    rng = random.Random(0)
    return [next(_extend(_Pick(space, varied, True, rng), 0, {})) for _ in range(MOST)]


@dataclass(frozen=True)
class _Pick:
    """The values to try: all relevant ones of `varied` parameters, one of every other parameter."""

    space: Space
    varied: set[str]
    ends: bool
    """Whether only the smallest and largest of a choice of numbers are tried, as for a range."""
    rng: random.Random | None = None

    def values(self, name: str, active: int) -> list[JsonValue]:
        domain = self.space.root[name][active]
        relevant = _relevant(domain, whole=name in WHOLE, ends=self.ends)
        for value in self.space.condition_values(name):
            if value not in relevant and domain.match(value):
                relevant.append(value)
        if name not in self.varied:
            return relevant[:1]
        return relevant if self.rng is None else [self.rng.choice(relevant)]


def _extend(pick: _Pick, depth: int, values: Values) -> Iterator[Values]:
    if depth == len(pick.space.order):
        yield dict(values)
        return
    name = pick.space.order[depth]
    active = pick.space.active(name, values)
    if active is None:
        yield from _extend(pick, depth + 1, values)
        return
    for value in pick.values(name, active):
        values[name] = value
        yield from _extend(pick, depth + 1, values)
    del values[name]


def _relevant(domain: Alternative, *, whole: bool, ends: bool) -> list[JsonValue]:
    if domain.choice is not None:
        numbers = [v for v in domain.choice if isinstance(v, int | float) and not isinstance(v, bool)]
        if ends and not whole and len(numbers) == len(domain.choice):
            return list(dict.fromkeys([min(numbers), max(numbers)]))
        return list(domain.choice)
    if domain.size is not None and (domain.size <= 3 or whole):
        return [domain.at(index) for index in range(domain.size)]
    low: JsonValue = domain.at(0) if domain.size is not None else float(domain.span[0])
    return [low, domain.highest]


class _Finder:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._shape = Shape()
        if draft.model is not None and draft.task is not None:
            self._shape = shape_of(draft.model, draft.task)
        embedded = draft.data.embedded if draft.data is not None else None
        self._images = embedded.train if embedded is not None else None
        self._examples: dict[tuple[tuple[str | int, ...], str], tuple[Violation, str, set[str]]] = {}

    def check_configuration(self, values: Mapping[str, JsonValue], group: tuple[str, ...]) -> None:
        """Build one configuration and store its errors."""
        for where, rule in self._errors(values):
            template = re.sub(r"'[^']*'|\[[^]]*\]|\d+(?:\.\d+)?", "#", rule)
            key, related = self._blame(where, rule, group)
            path = self._path(key, values)
            if not group and any(template == known for _, known in self._examples):
                continue
            shown = ", ".join(
                f"{name} {value if isinstance(value, str) else json.dumps(value)}"
                for name, value in values.items()
                if name in related
            )
            known = self._examples.setdefault((path, template), (Violation(path, rule), shown, set()))
            known[2].add(rule)

    def violations(self) -> list[Violation]:
        """One violation for each kind of error."""
        found = []
        for violation, shown, rules in self._examples.values():
            more = f"; {len(rules) - 1} more like it" if len(rules) > 1 else ""
            example = f" (for example with {shown}{more})" if shown else ""
            found.append(Violation(violation.path, violation.rule + example))
        return found

    def _errors(self, values: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        from tuning.experiment.dotted import put_nested

        nested: dict[str, JsonValue] = {}
        for name, value in (*self._draft.trial.items(), *values.items()):
            put_nested(nested, name.split("."), value)
        try:
            config = TrialConfig.model_validate_json(json.dumps(nested))
        except ValidationError as error:
            for violation in translate_errors(error):
                yield ".".join(str(part) for part in violation.path), violation.rule
            return
        for rule in _ineffective(config):
            yield "", rule
        steps = None
        if self._images is not None:
            batches = -(-self._images // config.batch_size)
            steps = -(-batches // config.accumulate) * config.epochs
        for rule in check_adapter_fits(
            config,
            self._shape.hidden or 0,
            self._shape.blocks,
            inner=self._shape.inner,
            total_steps=steps,
        ):
            yield "", rule

    def _blame(self, where: str, rule: str, group: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """The setting to show an error at, and the settings that it depends on.

        A rule begins with a setting's name: that setting if the file contains it, else another of its group.
        """
        begins = re.match(r"[a-z_.]+", rule)
        word = begins[0].rstrip(".") if begins else ""
        parts = word.split(".")  # of peft.arguments.r the file may have peft.arguments as a whole
        words = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
        named = [name for name in (*(f"{where}.{w}" if where else w for w in words), where) if name]
        related = next((g for name in named for g in GROUPS if name in g), group)
        known = [*self._draft.space.root, *self._draft.trial]
        return next((name for name in (*named, *related) if name in known), ""), related

    def _path(self, key: str, values: Mapping[str, JsonValue]) -> tuple[str | int, ...]:
        if key in self._draft.space.root:
            return ("space", key, self._draft.space.active(key, values) or 0)
        return ("trial", key) if key else ("trial",)


def _ineffective(config: TrialConfig) -> Iterator[str]:
    """Errors about settings that could never take effect."""
    late = config.unfreeze_epoch is not None and 0 < config.epochs <= config.unfreeze_epoch
    if late and config.mode is Freezing.UNFREEZE_AT:
        yield (
            f"unfreeze_epoch {config.unfreeze_epoch} is never reached in {plural(config.epochs, 'epoch')}; "
            "use a smaller value or train longer"
        )
