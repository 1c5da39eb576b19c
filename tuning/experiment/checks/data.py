"""Checks that a data section is consistent and fits the task, including its folds and shifted domains."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from trainables.specs.data import DataSpec, DomainPart, DomainSpec, HubData
from trainables.specs.data_splits import FOLDS_TAKEN
from trainables.specs.workload import ROBUSTNESS, MetricName, Task
from tuning.experiment.checks.draft import Draft
from tuning.experiment.file_errors import Path, Violation, suggestion

HUB_BOXES = ("boxes",)
HUB_MASKS = ("mask", "classes", "values", "ignore", "background")
"""The keys of a hub data set that only boxes have, and those that only masks have."""


def check_data(data: DataSpec, task: Task | None) -> Iterator[Violation]:
    """All checks of the data section. task: None if it is invalid."""
    if task is not None and data.kind not in task.facts.sources:
        yield Violation(
            ("data", data.kind),
            f"has no {task.facts.annotations}, which task {task} needs;"
            f" use one of {', '.join(task.facts.sources)}",
        )
    yield from _mask_values(data)
    if data.hub is not None and task is not None:
        yield from _hub_columns(data.hub, task)
    if data.splits.folds is not None and data.gives_validation:
        yield Violation(("data", "splits", "folds"), FOLDS_TAKEN)
    for name, domain in data.domains.items():
        yield from _domain(("data", "domains", name), domain, data)


def check_fold(draft: Draft) -> Iterator[Violation]:
    """The setting `fold`, fixed or searched, must name one of the parts of `data.splits.folds`."""
    if draft.data is None or ("fold" not in draft.trial and "fold" not in draft.space.root):
        return
    folds = draft.data.splits.folds
    given: list[tuple[Path, JsonValue]] = [(("trial", "fold"), draft.trial.get("fold"))]
    for number, domain in enumerate(draft.space.root.get("fold", ())):
        values = domain.choice if domain.choice is not None else [domain.highest]
        given += [(("space", "fold", number), value) for value in values]
    for path, value in given:
        if not isinstance(value, int):
            continue
        if folds is None:
            yield Violation(path, "needs data.splits.folds, the number of parts, such as folds: 5")
            return
        if value >= folds:
            yield Violation(path, f"must be 0 to {folds - 1} of {folds} folds, got {value}")


def shift_errors(asked: MetricName, data: DataSpec) -> Iterator[str]:
    """Why a metric under shift cannot be the objective, which is measured on validation images."""
    if asked.domain is None and asked.base != ROBUSTNESS:
        return
    if not data.domains:
        yield (
            "is measured in a shifted domain, but the data has none; add one, such as "
            "data.domains: {blurred: {corruption: {kind: blur}}}"
        )
        return
    for name in data.domains if asked.domain is None else (asked.domain,):
        if name not in data.domains:
            yield f"there is no domain '{name}'{suggestion(name, data.domains)}"
        elif not data.domains[name].has_validation:
            yield (
                f"needs validation images in domain {name}, which has test images only; "
                f"add data.domains.{name}.validation, or use another objective"
            )


def _mask_values(data: DataSpec) -> Iterator[Violation]:
    rules = data.masks or data.hub
    if rules is None or rules.classes is None:
        return
    key, classes, values = data.kind, rules.classes, rules.values
    if len(set(classes)) < len(classes):
        twice = next(c for c in classes if classes.count(c) > 1)
        yield Violation(("data", key, "classes"), f"contains '{twice}' twice; every class needs its own name")
    if values is not None and len(values) != len(classes):
        yield Violation(
            ("data", key, "values"),
            f"needs one grey value for each of the {len(classes)} classes, got {len(values)}",
        )
    elif values is not None and len(set(values)) < len(values):
        yield Violation(("data", key, "values"), f"must be different for each class, got {list(values)}")


def _hub_columns(hub: HubData, task: Task) -> Iterator[Violation]:
    if task.facts.masks and hub.classes is None:
        yield Violation(
            ("data", "hub", "classes"),
            "is missing; name the classes of the masks in the order of their values, such as "
            "[background, cell]",
        )
    elif hub.classes is not None and hub.background is not None and hub.background not in hub.classes:
        yield Violation(
            ("data", "hub", "background"),
            f"must be one of classes ({', '.join(hub.classes)}), got '{hub.background}'",
        )
    what, of_other = ("masks", HUB_BOXES) if task.facts.masks else ("boxes", HUB_MASKS)
    for key in of_other:
        if getattr(hub, key) is not None:
            other = "boxes" if what == "masks" else "masks"
            yield Violation(("data", "hub", key), f"is for {other}, but task {task} reads {what}; remove it")


def _domain(at: Path, domain: DomainSpec, data: DataSpec) -> Iterator[Violation]:
    if (error := data.unfit(domain)) is not None:
        yield Violation((*at, domain.kind), error)
        return
    if domain.corruption is not None and not data.gives_test:
        yield Violation(
            at, "is a corruption of test images, but the data has none; set data.splits.test above 0"
        )
    if data.embedded is not None and domain.embedded is data.embedded.domain:
        yield Violation(
            (*at, "embedded"), f"is {domain.embedded}, the same as data.embedded.domain; use another one"
        )
    for place, images in _images(domain):
        for part in ("train", "validation"):
            if getattr(data.source, part, None) == images:
                yield Violation(
                    (*at, *place, domain.kind),
                    f"uses the images of data.{domain.kind}.{part}, which trials are trained or selected on; "
                    "use other images",
                )


def _images(domain: DomainSpec) -> Iterator[tuple[Path, object]]:
    """Where a domain's own images are named, and how."""
    parts: tuple[tuple[Path, DomainSpec | DomainPart | None], ...] = (
        ((), domain),
        (("validation",), domain.validation),
    )
    for place, part in parts:
        if part is not None and part.kind not in ("embedded", "corruption"):
            yield place, getattr(part, part.kind)
