"""Whether the parts of an experiment fit together, before anything starts. Pure, no torch.

Each check takes a `Draft` and yields what is wrong, at paths of the plain values: a parameter's
domain is ("space", name, number of the alternative, key), a fixed setting ("trial", name).
What only a whole configuration shows is in `tuning.experiment.checks.combinations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import JsonValue

from trainables.specs.workload import Task
from tuning.experiment.checks.data import check_data
from tuning.experiment.checks.draft import Draft, either, is_inside
from tuning.experiment.checks.objective import check_objective
from tuning.experiment.checks.peft_methods import method_fault
from tuning.experiment.checks.space import check_space
from tuning.experiment.faults import Violation, meant, shown
from tuning.experiment.space import ADAPTER, SECTION_NAMES

if TYPE_CHECKING:
    from tuning.experiment.sections.search import SearchSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_parts(subject: Draft) -> Iterator[Violation]:
    """Every check that needs no whole configuration."""
    yield from _name(subject)
    if subject.data is not None:
        yield from check_data(subject.data, subject.task)
    yield from check_objective(subject)
    yield from _settings(subject)
    yield from check_space(subject)
    yield from _search(subject)
    yield from _scheduler(subject)


def check_first(subject: Draft) -> Iterator[Violation]:
    """Whether the configurations to try first lie in the space. For a space that is sound."""
    for number, params in enumerate(subject.first):
        at = ("search", "first", number)
        for name in params:
            if name not in subject.space.root:
                yield Violation((*at, name), f"is not in the space{meant(name, subject.space.names)}")
        inside = {name: value for name, value in params.items() if name in subject.space.root}
        for name, rule in subject.space.locate(inside)[1].items():
            yield Violation((*at, name), rule)


# --- the parts --------------------------------------------------------------------------------


def _name(subject: Draft) -> Iterator[Violation]:
    if subject.name is not None and not _NAME.fullmatch(subject.name):
        yield Violation(
            ("name",),
            "names a folder: up to 100 letters, digits, '.', '_' or '-', the first a letter or digit, "
            f"got {shown(subject.name)}",
        )


def _settings(subject: Draft) -> Iterator[Violation]:
    for name, value in subject.trial.items():
        for other in subject.written:
            if other == name:
                yield Violation(
                    ("trial", name), "is in space too; it is either fixed or searched, remove one"
                )
            elif (is_inside(other, name) and value != {}) or is_inside(name, other):
                yield Violation(
                    ("trial", name), f"overlaps with {other} in space; fix or search each setting once"
                )
        if name == "peft.method" and isinstance(value, str) and (fault := method_fault(value)) is not None:
            yield Violation(("trial", name), fault)
    if subject.task is not None:
        yield from _of_other_tasks(subject, subject.task)
    yield from _unused(subject)


def _of_other_tasks(subject: Draft, task: Task) -> Iterator[Violation]:
    for part, names in (("trial", subject.trial), ("space", subject.space.root)):
        for name in names:
            section = name.split(".")[0]
            takers = [other.value for other in Task if section in other.facts.settings]
            if takers and task not in takers:
                rule = f"is for task {' or '.join(takers)}; {task} has the model's own"
                yield Violation((part, name), rule)


def _unused(subject: Draft) -> Iterator[Violation]:
    adapters = subject.taken(ADAPTER)
    if adapters is None or ADAPTER in subject.touched:
        return
    for name in subject.trial:
        section = name.split(".")[0]
        if section in SECTION_NAMES and section not in adapters:
            yield Violation(("trial", name), f"has no use: adapter is {either(adapters)}, never {section}")


# --- search and scheduler ---------------------------------------------------------------------


def _search(subject: Draft) -> Iterator[Violation]:
    search = subject.search
    if search is None or not subject.written:
        return
    yield from _from(search)
    if search.grid is not None:
        for name, domains in subject.space.root.items():
            for number, domain in enumerate(domains):
                if domain.size is None:
                    yield Violation(
                        ("space", name, number, "float"), "needs a step for search.grid; or use tpe or random"
                    )
    elif search.trials is None:
        yield Violation(
            ("search", "trials"), "is missing: the number of configurations to try, such as trials: 30"
        )


def _from(search: SearchSpec) -> Iterator[Violation]:
    if search.from_ and search.tpe is None:
        kind = "grid" if search.grid is not None else "random"
        yield Violation(
            ("search", "from"), f"goes with search.tpe; {kind} learns nothing from earlier trials"
        )
    for name in sorted({name for name in search.from_ if search.from_.count(name) > 1}):
        yield Violation(("search", "from"), f"names {shown(name)} twice; its trials would count twice")


def _scheduler(subject: Draft) -> Iterator[Violation]:
    if subject.scheduler is None or not subject.written:
        return
    epochs = most_epochs(subject)
    for kind in ("asha", "median"):
        rule = getattr(subject.scheduler, kind)
        if rule is None or epochs is None:
            continue
        # A short run for a try, with --set trial.epochs=1, may do without its scheduler.
        short = rule.grace_epochs == epochs and "epochs" in subject.touched
        if rule.grace_epochs >= epochs and not short:
            yield Violation(
                ("scheduler", kind, "grace_epochs"),
                f"is {rule.grace_epochs:g}, but trials run {epochs:g} epochs, so none would be stopped; "
                "use a smaller one or scheduler: none",
            )


def most_epochs(subject: Draft) -> float | None:
    """The most epochs that a trial runs; None if that is wrong in itself."""
    values: list[JsonValue] = []
    if "epochs" in subject.written:
        for domain in subject.space.root.get("epochs", ()):
            values += domain.choice if domain.choice is not None else [domain.highest]
    else:
        values = [subject.trial.get("epochs", 10)]
    numbers = [v for v in values if isinstance(v, int | float)]
    return max(numbers) if numbers else None
