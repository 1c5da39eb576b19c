"""Whether the parts of an experiment fit together, before anything starts. Pure, no torch.

Each check takes a `Subject` and yields what is wrong, at paths of the plain values: a parameter's
domain is ("space", name, number of the alternative, key), a fixed setting ("trial", name).
What only a whole configuration shows is in `tuning.combinations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from pydantic import JsonValue

from trainables.adapters.specs import Adapter
from trainables.config import Loss
from trainables.data.specs import DataSpec
from trainables.workload import METRICS, ROBUSTNESS, Direction, Figure, ModelSpec, ObjectiveSpec, Task
from tuning.data_checks import check_data, shift_faults
from tuning.faults import Misfit, closest, meant, shown
from tuning.fields import Kind, setting
from tuning.peft_names import method_fault
from tuning.space import ADAPTER, SECTION_NAMES, Alternative, Space, describe

if TYPE_CHECKING:
    from tuning.experiment import SchedulerSpec, SearchSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PER_CLASS = {Task.DETECTION: ("map",), Task.SEGMENTATION: ("dice", "iou")}
_SEGMENTATION_ONLY = ("loss", "head")


@dataclass
class Subject:
    """What is known of an experiment; a part that is wrong in itself is None or left out."""

    name: str | None = None
    task: Task | None = None
    model: ModelSpec | None = None
    data: DataSpec | None = None
    objective: ObjectiveSpec | None = None
    search: SearchSpec | None = None
    scheduler: SchedulerSpec | None = None
    trial: dict[str, JsonValue] = field(default_factory=dict)
    """Fixed settings by dotted name."""
    space: Space = field(default_factory=Space)
    written: frozenset[str] = frozenset()
    """Every parameter of the file, wrong ones included."""
    first: list[dict[str, JsonValue]] = field(default_factory=list)
    """`search.first` by dotted names."""
    touched: frozenset[str] = frozenset()
    """Settings that an override named."""

    def fixed(self, name: str) -> JsonValue:
        """The value of a setting that is not searched: from `trial`, else its default."""
        if name in self.trial:
            return self.trial[name]
        return Adapter.LORA.value if name == ADAPTER else None

    def taken(self, name: str) -> list[JsonValue] | None:
        """Values that a parameter or fixed setting takes; None if they cannot be listed."""
        if name not in self.written:
            return [self.fixed(name)]
        domains = self.space.root.get(name, ())
        if not domains or any(d.size is None or d.size > 10_000 for d in domains):
            return None
        return list(dict.fromkeys(d.at(i) for d in domains for i in range(d.size or 0) if _scalar(d.at(i))))


def check_parts(subject: Subject) -> Iterator[Misfit]:
    """Every check that needs no whole configuration."""
    yield from _name(subject)
    if subject.data is not None:
        yield from check_data(subject.data, subject.task)
    yield from _objective(subject)
    yield from _settings(subject)
    for name, domains in subject.space.root.items():
        for number, domain in enumerate(domains):
            yield from _domain(name, number, domain)
            yield from _conditions(subject, name, number, domain)
        yield from _alternatives(subject.space, name)
        yield from _sections(subject, name)
    yield from _circles(subject.space)
    yield from _search(subject)
    yield from _scheduler(subject)


def check_first(subject: Subject) -> Iterator[Misfit]:
    """Whether the configurations to try first lie in the space. For a space that is sound."""
    for number, params in enumerate(subject.first):
        at = ("search", "first", number)
        for name in params:
            if name not in subject.space.root:
                yield Misfit((*at, name), f"is not in the space{meant(name, subject.space.names)}")
        inside = {name: value for name, value in params.items() if name in subject.space.root}
        for name, rule in subject.space.locate(inside)[1].items():
            yield Misfit((*at, name), rule)


# --- the parts --------------------------------------------------------------------------------


def _name(subject: Subject) -> Iterator[Misfit]:
    if subject.name is not None and not _NAME.fullmatch(subject.name):
        yield Misfit(
            ("name",),
            "names a folder: up to 100 letters, digits, '.', '_' or '-', the first a letter or digit, "
            f"got {shown(subject.name)}",
        )


def _objective(subject: Subject) -> Iterator[Misfit]:
    if subject.task is None or subject.objective is None:
        return
    metric, known = subject.objective.metric, METRICS[subject.task]
    figure = Figure.of(metric)
    base = figure.base
    if not _is_known(figure, subject.task):
        yield Misfit(
            ("objective", "metric"),
            f"{subject.task} has no metric {shown(metric)}{_instead_of(figure, metric, subject)}",
        )
        return
    if figure.of_class and (fault := class_fault(metric, _classes(subject))) is not None:
        yield Misfit(("objective", "metric"), fault)
    if subject.data is not None:
        for fault in shift_faults(figure, subject.data):
            yield Misfit(("objective", "metric"), fault)
    if base == "loss" and len(kinds := _losses(subject)) > 1:
        others = [name for name in known if name != base]
        yield Misfit(
            ("objective", "metric"),
            f"is loss, and trials differ in theirs ({', '.join(sorted(kinds))}), so their values cannot be "
            f"compared; use {', '.join(others[:-1])} or {others[-1]}, or fix loss under trial",
        )
    better = figure.direction(subject.task)
    if subject.objective.mode not in (None, better):
        way = "larger" if better is Direction.MAXIMIZE else "smaller"
        yield Misfit(("objective", "mode"), f"{base} is better when {way}; use {better} or leave mode out")


def _instead_of(figure: Figure, metric: str, subject: Subject) -> str:
    task = subject.task
    assert task is not None
    if (guess := closest(figure.base, (*METRICS[task], ROBUSTNESS))) is not None:
        whole = guess + metric[len(figure.base) :]
        return f"; did you mean '{whole if _is_known(Figure.of(whole), task) else guess}'?"
    named = [f"{base}/CLASS" for base in _PER_CLASS[task]]
    if figure.domain is not None or (subject.data is not None and subject.data.domains):
        named += ["FIGURE@DOMAIN", ROBUSTNESS, f"{ROBUSTNESS}@DOMAIN"]
    return f"; it has {', '.join([*METRICS[task], *named])}"


def _is_known(figure: Figure, task: Task) -> bool:
    if figure.base == ROBUSTNESS:
        return figure.of_class is None
    if figure.of_class is not None:
        return figure.base in _PER_CLASS[task] and figure.domain is None
    return figure.base in METRICS[task]


def class_fault(metric: str, classes: Sequence[str]) -> str | None:
    """What is wrong with the class of a metric such as `dice/cat`; no classes: they are not known yet."""
    _, _, name = metric.partition("/")
    if not name or not classes or name in classes:
        return None
    close = closest(name, classes)
    return f"there is no class '{name}'" + (
        f"; did you mean '{close}'?" if close else f"; the data has {_few(classes)}"
    )


def _few(classes: Sequence[str], most: int = 20) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return ", ".join(classes[:most]) + more


def _classes(subject: Subject) -> Sequence[str]:
    """The classes that the data will have, as far as the file says."""
    if subject.data is None:
        return ()
    if subject.data.masks is not None:
        return subject.data.masks.classes
    if subject.data.embedded is None:
        return ()
    from trainables.data.digits import BACKGROUND
    from trainables.data.embedded import CLASSES

    return CLASSES if subject.task is Task.DETECTION else (BACKGROUND, *CLASSES)


def _losses(subject: Subject) -> set[str]:
    """The losses that trials may have."""
    values = subject.taken("loss") or []
    domains = subject.space.root.get("loss", ())
    if len(domains) == 1 and domains[0].when:
        values = [*values, subject.fixed("loss")]  # where it does not apply
    return {str(value or Loss.CROSS_ENTROPY) for value in values}


def _settings(subject: Subject) -> Iterator[Misfit]:
    for name, value in subject.trial.items():
        for other in subject.written:
            if other == name:
                yield Misfit(("trial", name), "is in space too; it is either fixed or searched, remove one")
            elif (_inside(other, name) and value != {}) or _inside(name, other):
                yield Misfit(
                    ("trial", name), f"overlaps with {other} in space; fix or search each setting once"
                )
        if name == "peft.method" and isinstance(value, str) and (fault := method_fault(value)) is not None:
            yield Misfit(("trial", name), fault)
    if subject.task is Task.DETECTION:
        for part, names in (("trial", subject.trial), ("space", subject.space.root)):
            for name in names:
                if name.split(".")[0] in _SEGMENTATION_ONLY:
                    yield Misfit((part, name), "is for task segmentation; detection has the model's own")
    yield from _unused(subject)


def _unused(subject: Subject) -> Iterator[Misfit]:
    adapters = subject.taken(ADAPTER)
    if adapters is None or ADAPTER in subject.touched:
        return
    for name in subject.trial:
        section = name.split(".")[0]
        if section in SECTION_NAMES and section not in adapters:
            yield Misfit(("trial", name), f"has no use: adapter is {_either(adapters)}, never {section}")


# --- the space --------------------------------------------------------------------------------


def _domain(name: str, number: int, domain: Alternative) -> Iterator[Misfit]:
    known, at = setting(name), ("space", name, number)
    assert known is not None
    if domain.choice is not None:
        for index, value in enumerate(domain.choice):
            yield from known.misfits(value, (*at, "choice", index))
            if name == "peft.method" and isinstance(value, str) and (fault := method_fault(value)):
                yield Misfit((*at, "choice", index), fault)
        return
    key = "int" if domain.whole is not None else "float"
    if known.kind in (Kind.OTHER, Kind.SECTION):
        what = "section" if known.kind is Kind.SECTION else "number"
        rule = (
            f"{name} is a section; search its settings"
            if what == "section"
            else f"{name} is no number; use choice"
        )
        yield Misfit((*at, key), rule)
        return
    if known.kind is Kind.WHOLE and key == "float":
        yield Misfit((*at, key), f"{name} is a whole number; use int in place of float")
        return
    for index, end in enumerate((domain.at(0) if domain.whole else domain.span[0], domain.highest)):
        yield from known.misfits(end, (*at, key, index))


def _conditions(subject: Subject, name: str, number: int, domain: Alternative) -> Iterator[Misfit]:
    for parent, values in domain.when.items():
        at = ("space", name, number, "when", parent)
        if parent not in subject.written:
            yield Misfit(at, _no_parent(subject, parent))
            continue
        if parent == name or parent not in subject.space.root:
            continue  # a circle of one, or a parameter that is wrong in itself
        if any(d.size is None for d in subject.space.root[parent]):
            yield Misfit(
                at, f"{parent} is a range of real numbers; a condition needs a choice or whole numbers"
            )
            continue
        for index, value in enumerate(values):
            if not any(d.match(value) for d in subject.space.root[parent]):
                yield Misfit(
                    (*at, index), f"{parent} is never {shown(value)}{_instead(subject, parent, value)}"
                )
        section = name.split(".")[0]
        if parent == ADAPTER and section in SECTION_NAMES and any(v != section for v in values):
            yield Misfit(at, f"{name} is read where adapter is {section} only; leave out the condition")


def _no_parent(subject: Subject, parent: str) -> str:
    if parent in subject.trial:
        return f"{parent} is fixed to {shown(subject.trial[parent])} in trial; remove the condition"
    if setting(parent) is not None:
        return f"{parent} is not in the space; search it too, or remove the condition"
    close = closest(parent, subject.written)
    return f"there is no parameter {shown(parent)}" + (
        f"; did you mean '{close}'?" if close else "; name one of this space"
    )


def _instead(subject: Subject, parent: str, value: JsonValue) -> str:
    domains = subject.space.root[parent]
    if all(d.choice is not None for d in domains):
        options = [v if isinstance(v, str) else shown(v) for d in domains for v in d.choice or ()]
        close = closest(value, options)
        return f"; did you mean '{close}'?" if close else f"; it takes {', '.join(options)}"
    return f"; it is {' or '.join(map(describe, domains))}"


def _alternatives(space: Space, name: str) -> Iterator[Misfit]:
    conditions = space.conditions(name)
    for (_, one), (second, other) in combinations(enumerate(conditions), 2):
        shared = [parent for parent in one if parent in other]
        if not any(all(v not in other[parent] for v in one[parent]) for parent in shared):
            yield Misfit(
                ("space", name, second),
                "can apply at the same time as an earlier alternative; "
                "give the two `when` conditions that exclude each other on one parameter",
            )
            return


def _sections(subject: Subject, name: str) -> Iterator[Misfit]:
    for other in subject.written:
        if _inside(other, name):
            yield Misfit(("space", other), f"lies inside {name}, which is searched as a whole; remove one")
    section = name.split(".")[0]
    adapters = subject.taken(ADAPTER)
    if section in SECTION_NAMES and adapters is not None and section not in adapters:
        yield Misfit(
            ("space", name),
            f"never applies: adapter is {_either(adapters)}, never {section}; remove it or add {section}",
        )


def _circles(space: Space) -> Iterator[Misfit]:
    done: set[str] = set()

    def follow(name: str, above: tuple[str, ...]) -> Iterator[Misfit]:
        if name in above:
            ring = [*above[above.index(name) :], name]
            number = next(i for i, when in enumerate(space.conditions(ring[0])) if ring[1] in when)
            yield Misfit(
                ("space", ring[0], number, "when"),
                f"goes in a circle: {' needs '.join(ring)}; remove one of these conditions",
            )
        elif name not in done:
            for parent in sorted(space.parents(name) & space.root.keys()):
                yield from follow(parent, (*above, name))
            done.add(name)

    for name in space.root:
        yield from follow(name, ())


# --- search and scheduler ---------------------------------------------------------------------


def _search(subject: Subject) -> Iterator[Misfit]:
    search = subject.search
    if search is None or not subject.written:
        return
    yield from _from(search)
    if search.grid is not None:
        for name, domains in subject.space.root.items():
            for number, domain in enumerate(domains):
                if domain.size is None:
                    yield Misfit(
                        ("space", name, number, "float"), "needs a step for search.grid; or use tpe or random"
                    )
    elif search.trials is None:
        yield Misfit(
            ("search", "trials"), "is missing: the number of configurations to try, such as trials: 30"
        )


def _from(search: SearchSpec) -> Iterator[Misfit]:
    if search.from_ and search.tpe is None:
        kind = "grid" if search.grid is not None else "random"
        yield Misfit(("search", "from"), f"goes with search.tpe; {kind} learns nothing from earlier trials")
    for name in sorted({name for name in search.from_ if search.from_.count(name) > 1}):
        yield Misfit(("search", "from"), f"names {shown(name)} twice; its trials would count twice")


def _scheduler(subject: Subject) -> Iterator[Misfit]:
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
            yield Misfit(
                ("scheduler", kind, "grace_epochs"),
                f"is {rule.grace_epochs:g}, but trials run {epochs:g} epochs, so none would be stopped; "
                "use a smaller one or scheduler: none",
            )


def most_epochs(subject: Subject) -> float | None:
    """The most epochs that a trial runs; None if that is wrong in itself."""
    values: list[JsonValue] = []
    if "epochs" in subject.written:
        for domain in subject.space.root.get("epochs", ()):
            values += domain.choice if domain.choice is not None else [domain.highest]
    else:
        values = [subject.trial.get("epochs", 10)]
    numbers = [v for v in values if isinstance(v, int | float)]
    return max(numbers) if numbers else None


def _inside(name: str, section: str) -> bool:
    return name.startswith(section + ".")


def _scalar(value: JsonValue) -> bool:
    return not isinstance(value, list | dict)


def _either(values: list[JsonValue]) -> str:
    return " or ".join(str(value) for value in values)
