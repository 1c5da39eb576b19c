"""Checks that the objective is a metric of the task and the data, and comparable between trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainables.specs.costs import COSTS, CostMetric
from trainables.specs.metric_class import class_error, weight_error
from trainables.specs.trial import LOSS_WEIGHTS, Loss
from trainables.specs.workload import ROBUSTNESS, Direction, MetricName, Task
from tuning.experiment.checks.data import shift_errors
from tuning.experiment.checks.draft import Draft
from tuning.experiment.checks.local_checkpoint import weights_refused
from tuning.experiment.file_errors import Path, Violation, closest_name, describe_value


def check_objective(draft: Draft) -> Iterator[Violation]:
    """All checks of the first objective."""
    if draft.task is None or draft.objective is None:
        return
    at = ("objective", "metric")
    metric, main = draft.objective.metric, draft.task.facts.main_metric
    if metric in COSTS:
        yield Violation(
            at,
            f"is {metric}, a cost, which a model that learns nothing may win; the first objective must be a"
            f" metric on validation images: objective: [{{metric: {main}}}, {{metric: {metric}}}]",
        )
        return
    yield from check_metric(draft, metric, draft.objective.mode, at)


def check_metric(
    draft: Draft, metric: str, mode: Direction | None, at: Path, *, costs: bool = False
) -> Iterator[Violation]:
    """Check that a metric exists and is comparable between trials. at: its path.

    costs: whether it may also be a cost, for the message about an unknown one.
    """
    assert draft.task is not None
    asked = _asked(draft, metric)
    base = asked.base
    if not _is_known(asked, draft.task):
        more = f", and the costs {', '.join(CostMetric)}" if costs else ""
        if costs and (close := closest_name(metric, COSTS)) is not None:
            said = f"; did you mean '{close}'?"
        else:
            said = _instead_of(asked, metric, draft)
            said += "" if "did you mean" in said else more
        yield Violation(at, f"{draft.task} has no metric {describe_value(metric)}{said}")
        return
    if asked.of_class and (error := class_error(asked, _classes(draft))) is not None:
        yield Violation(at, error)
    if draft.data is not None:
        for error in shift_errors(asked, draft.data):
            yield Violation(at, error)
    if base == "loss" and len(kinds := _losses(draft)) > 1:
        others = [name for name in draft.task.facts.table_metrics if name != base]
        yield Violation(
            at,
            f"is loss, but trials have different losses ({', '.join(sorted(kinds))}), so their values cannot "
            f"be compared; use {', '.join(others[:-1])} or {others[-1]}, or set one loss under trial",
        )
    if base == "loss" and any(name.partition(".")[0] == LOSS_WEIGHTS for name in draft.written):
        others = [name for name in draft.task.facts.table_metrics if name != base]
        yield Violation(
            at,
            f"is loss, but trials have different {LOSS_WEIGHTS}, so their values cannot be compared; use "
            f"{', '.join(others[:-1])} or {others[-1]}, or set one value for each class under trial",
        )
    better = asked.direction(draft.task)
    if mode not in (None, better):
        way = "larger" if better is Direction.MAXIMIZE else "smaller"
        yield Violation((*at[:-1], "mode"), f"{base} is better when {way}; use {better} or leave mode out")


def check_loss_weights(draft: Draft) -> Iterator[Violation]:
    """`loss_weights`, fixed or searched, must be of classes of the data, in a loss that takes weights."""
    named: list[tuple[Path, str]] = []
    for name, value in draft.trial.items():
        section, _, one = name.partition(".")
        if section == LOSS_WEIGHTS:
            inside = [one] if one else list(value) if isinstance(value, dict) else []
            named += [(("trial", name), each) for each in inside]
    for name in draft.space.root:
        section, _, one = name.partition(".")
        if section == LOSS_WEIGHTS and one:
            named.append((("space", name), one))
    if not named:
        return  # without the import of embedded data's classes
    if (error := weights_refused(draft.model, draft.task)) is not None:
        for path in dict.fromkeys(path for path, _ in named):
            yield Violation(path, error)
        return
    classes = _classes(draft)
    for path, each in named:
        if (error := weight_error([each], classes)) is not None:
            yield Violation(path, error)


def _asked(draft: Draft, metric: str) -> MetricName:
    """The parts of the metric; a class that is really named like `a@b` is not taken for a domain's."""
    asked = MetricName.of(metric, draft.data.domains if draft.data is not None else None)
    if asked.domain is None and asked.of_class and asked.of_class not in (known := _classes(draft)):
        other = MetricName.of(metric)  # the name of a domain that the data lack
        if not known or other.of_class in known:
            return other
    return asked


def _instead_of(asked: MetricName, metric: str, draft: Draft) -> str:
    task = draft.task
    assert task is not None
    base, at, domain = asked.base.partition("@")
    if at and asked.of_class is not None:
        turned = MetricName(base, asked.of_class, domain)
        return f"; did you mean '{turned.whole if _is_known(turned, task) else base}'?"
    if (guess := closest_name(asked.base, (*task.facts.metrics, ROBUSTNESS))) is not None:
        whole = guess + metric[len(asked.base) :]
        return f"; did you mean '{whole if _is_known(MetricName.of(whole), task) else guess}'?"
    named = [f"{base}/CLASS" for base in task.facts.class_metrics]
    if asked.domain is not None or (draft.data is not None and draft.data.domains):
        named += ["METRIC@DOMAIN", ROBUSTNESS, f"{ROBUSTNESS}@DOMAIN"]
    return f"; it has {', '.join([*task.facts.metrics, *named])}"


def _is_known(asked: MetricName, task: Task) -> bool:
    if asked.base == ROBUSTNESS:
        return asked.of_class is None
    if asked.of_class is not None:
        return asked.base in task.facts.class_metrics
    return asked.base in task.facts.metrics


def _classes(draft: Draft) -> Sequence[str]:
    """The classes of the data, if the file defines them."""
    if draft.data is None:
        return ()
    if draft.data.masks is not None:
        return draft.data.masks.classes
    if draft.data.embedded is None or draft.task is None:
        return ()
    from trainables.data.digits import BACKGROUND
    from trainables.data.embedded import CLASSES

    return (BACKGROUND, *CLASSES) if draft.task.facts.background else CLASSES


def _losses(draft: Draft) -> set[str]:
    """The losses that trials can have."""
    values = draft.possible_values("loss") or []
    domains = draft.space.root.get("loss", ())
    if len(domains) == 1 and domains[0].when:
        values = [*values, draft.fixed_value("loss")]  # where it does not apply
    return {str(value or Loss.CROSS_ENTROPY) for value in values}
