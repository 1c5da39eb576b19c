"""Whether the objective is a figure that the task and the data give, and that trials can be compared by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainables.specs.trial import Loss
from trainables.specs.workload import ROBUSTNESS, Direction, Figure, Task
from tuning.experiment.checks.data import shift_faults
from tuning.experiment.checks.draft import Draft
from tuning.experiment.faults import Violation, closest, shown


def check_objective(subject: Draft) -> Iterator[Violation]:
    """Every check that the objective takes."""
    if subject.task is None or subject.objective is None:
        return
    metric, known = subject.objective.metric, subject.task.facts.metrics
    figure = Figure.of(metric)
    base = figure.base
    if not _is_known(figure, subject.task):
        yield Violation(
            ("objective", "metric"),
            f"{subject.task} has no metric {shown(metric)}{_instead_of(figure, metric, subject)}",
        )
        return
    if figure.of_class and (fault := class_fault(metric, _classes(subject))) is not None:
        yield Violation(("objective", "metric"), fault)
    if subject.data is not None:
        for fault in shift_faults(figure, subject.data):
            yield Violation(("objective", "metric"), fault)
    if base == "loss" and len(kinds := _losses(subject)) > 1:
        others = [name for name in known if name != base]
        yield Violation(
            ("objective", "metric"),
            f"is loss, and trials differ in theirs ({', '.join(sorted(kinds))}), so their values cannot be "
            f"compared; use {', '.join(others[:-1])} or {others[-1]}, or fix loss under trial",
        )
    better = figure.direction(subject.task)
    if subject.objective.mode not in (None, better):
        way = "larger" if better is Direction.MAXIMIZE else "smaller"
        yield Violation(("objective", "mode"), f"{base} is better when {way}; use {better} or leave mode out")


def _instead_of(figure: Figure, metric: str, subject: Draft) -> str:
    task = subject.task
    assert task is not None
    if (guess := closest(figure.base, (*task.facts.metrics, ROBUSTNESS))) is not None:
        whole = guess + metric[len(figure.base) :]
        return f"; did you mean '{whole if _is_known(Figure.of(whole), task) else guess}'?"
    named = [f"{base}/CLASS" for base in task.facts.class_metrics]
    if figure.domain is not None or (subject.data is not None and subject.data.domains):
        named += ["FIGURE@DOMAIN", ROBUSTNESS, f"{ROBUSTNESS}@DOMAIN"]
    return f"; it has {', '.join([*task.facts.metrics, *named])}"


def _is_known(figure: Figure, task: Task) -> bool:
    if figure.base == ROBUSTNESS:
        return figure.of_class is None
    if figure.of_class is not None:
        return figure.base in task.facts.class_metrics and figure.domain is None
    return figure.base in task.facts.metrics


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


def _classes(subject: Draft) -> Sequence[str]:
    """The classes that the data will have, as far as the file says."""
    if subject.data is None:
        return ()
    if subject.data.masks is not None:
        return subject.data.masks.classes
    if subject.data.embedded is None or subject.task is None:
        return ()
    from trainables.data.digits import BACKGROUND
    from trainables.data.embedded import CLASSES

    return (BACKGROUND, *CLASSES) if subject.task.facts.background else CLASSES


def _losses(subject: Draft) -> set[str]:
    """The losses that trials may have."""
    values = subject.taken("loss") or []
    domains = subject.space.root.get("loss", ())
    if len(domains) == 1 and domains[0].when:
        values = [*values, subject.fixed("loss")]  # where it does not apply
    return {str(value or Loss.CROSS_ENTROPY) for value in values}
