"""Checks that the parameters of a space are settings of trials, and that their conditions can be met."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from pydantic import JsonValue

from tuning.experiment.alternative import Alternative, describe_domain
from tuning.experiment.checks.draft import Draft, is_inside, join_or
from tuning.experiment.checks.peft_methods import method_error
from tuning.experiment.file_errors import Violation, closest_name, describe_value
from tuning.experiment.scaled_rates import DEFAULTS, RATES
from tuning.experiment.settings import SettingKind, find_setting
from tuning.experiment.space import ADAPTER, SECTION_NAMES, Space


def check_space(draft: Draft) -> Iterator[Violation]:
    """All checks of the space."""
    for name, domains in draft.space.root.items():
        for number, domain in enumerate(domains):
            yield from _domain(draft, name, number, domain)
            yield from _conditions(draft, name, number, domain)
        yield from _alternatives(draft.space, name)
        yield from _sections(draft, name)
    yield from _cycles(draft.space)


def _domain(draft: Draft, name: str, number: int, domain: Alternative) -> Iterator[Violation]:
    known, at = find_setting(name), ("space", name, number)
    assert known is not None
    yield from _scale_with(draft, name, number, domain)
    if domain.choice is not None:
        for index, value in enumerate(domain.choice):
            yield from known.violations(value, (*at, "choice", index))
            if name == "peft.method" and isinstance(value, str) and (error := method_error(value)):
                yield Violation((*at, "choice", index), error)
        return
    key = "int" if domain.whole is not None else "float"
    if known.kind in (SettingKind.OTHER, SettingKind.SECTION):
        what = "section" if known.kind is SettingKind.SECTION else "number"
        rule = (
            f"{name} is a section; search its settings"
            if what == "section"
            else f"{name} is not a number; use choice"
        )
        yield Violation((*at, key), rule)
        return
    if known.kind is SettingKind.WHOLE and key == "float":
        yield Violation((*at, key), f"{name} is a whole number; use int instead of float")
        return
    for index, end in enumerate((domain.at(0) if domain.whole else domain.span[0], domain.highest)):
        yield from known.violations(end, (*at, key, index))


def _scale_with(draft: Draft, name: str, number: int, domain: Alternative) -> Iterator[Violation]:
    """A learning rate may be scaled with the rank or alpha of an adapter that trials can have."""
    setting, at = domain.scale_with, ("space", name, number, "scale_with")
    if setting is None:
        return
    if name not in RATES:
        yield Violation(at, f"applies to {' and '.join(RATES)}, not to {name}; remove it")
    elif setting not in DEFAULTS:
        close = closest_name(setting, DEFAULTS)
        guess = f"; did you mean '{close}'?" if close else f"; it takes {', '.join(DEFAULTS)}"
        yield Violation(at, f"must be the rank or alpha of an adapter, got '{setting}'{guess}")
    else:
        adapters, section = draft.possible_values(ADAPTER), setting.partition(".")[0]
        if adapters is not None and section not in adapters and ADAPTER not in draft.touched:
            rule = f"has no effect: adapter is {join_or(adapters)}, never {section}; remove it"
            yield Violation(at, rule)


def _conditions(draft: Draft, name: str, number: int, domain: Alternative) -> Iterator[Violation]:
    for parent, values in domain.when.items():
        at = ("space", name, number, "when", parent)
        if parent not in draft.written:
            yield Violation(at, _no_parent(draft, parent))
            continue
        if parent == name or parent not in draft.space.root:
            continue  # a cycle of one, or an invalid parameter
        if any(d.size is None for d in draft.space.root[parent]):
            yield Violation(
                at, f"{parent} is a range of real numbers; a condition needs a choice or whole numbers"
            )
            continue
        for index, value in enumerate(values):
            if not any(d.match(value) for d in draft.space.root[parent]):
                yield Violation(
                    (*at, index),
                    f"{parent} is never {describe_value(value)}{_instead(draft, parent, value)}",
                )
        section = name.split(".")[0]
        if parent == ADAPTER and section in SECTION_NAMES and any(v != section for v in values):
            yield Violation(at, f"{name} only applies if adapter is {section}; remove the condition")


def _no_parent(draft: Draft, parent: str) -> str:
    if parent in draft.trial:
        return f"{parent} is fixed to {describe_value(draft.trial[parent])} in trial; remove the condition"
    if find_setting(parent) is not None:
        return f"{parent} is not in the space; search it too, or remove the condition"
    close = closest_name(parent, draft.written)
    return f"there is no parameter {describe_value(parent)}" + (
        f"; did you mean '{close}'?" if close else "; use a parameter of this space"
    )


def _instead(draft: Draft, parent: str, value: JsonValue) -> str:
    domains = draft.space.root[parent]
    if all(d.choice is not None for d in domains):
        options = [v if isinstance(v, str) else describe_value(v) for d in domains for v in d.choice or ()]
        close = closest_name(value, options)
        return f"; did you mean '{close}'?" if close else f"; it takes {', '.join(options)}"
    return f"; it is {' or '.join(map(describe_domain, domains))}"


def _alternatives(space: Space, name: str) -> Iterator[Violation]:
    conditions = space.conditions(name)
    for (_, one), (second, other) in combinations(enumerate(conditions), 2):
        shared = [parent for parent in one if parent in other]
        if not any(all(v not in other[parent] for v in one[parent]) for parent in shared):
            yield Violation(
                ("space", name, second),
                "can apply at the same time as an earlier alternative; "
                "give both a `when` on the same parameter, without a value in common",
            )
            return


def _sections(draft: Draft, name: str) -> Iterator[Violation]:
    for other in draft.written:
        if is_inside(other, name):
            yield Violation(("space", other), f"is part of {name}, which is searched as a whole; remove one")
    section = name.split(".")[0]
    adapters = draft.possible_values(ADAPTER)
    if section in SECTION_NAMES and adapters is not None and section not in adapters:
        yield Violation(
            ("space", name),
            f"never applies: adapter is {join_or(adapters)}, never {section}; remove it or add {section}",
        )


def _cycles(space: Space) -> Iterator[Violation]:
    done: set[str] = set()

    def follow(name: str, above: tuple[str, ...]) -> Iterator[Violation]:
        if name in above:
            cycle = [*above[above.index(name) :], name]
            number = next(i for i, when in enumerate(space.conditions(cycle[0])) if cycle[1] in when)
            yield Violation(
                ("space", cycle[0], number, "when"),
                f"is part of a cycle: {' needs '.join(cycle)}; remove one of these conditions",
            )
        elif name not in done:
            for parent in sorted(space.parents(name) & space.root.keys()):
                yield from follow(parent, (*above, name))
            done.add(name)

    for name in space.root:
        yield from follow(name, ())
