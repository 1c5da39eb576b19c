"""Metrics on test images, in domain and under domain shift, by adapter and freezing mode.

The trials were picked by their values on validation images, so test metrics did not pick themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.sweep import QueryError, Standing, Sweep, Trial
from analysis.ranking.best import rank_trials
from analysis.ranking.by_adapter import PRETRAINED
from analysis.ranking.scored_metrics import scored_json, scored_value
from analysis.tables import Table, format_budget, format_metric
from trainables.specs.workload import Direction, MetricName, ValueRule
from tuning.experiment.sections.scoring import Scored
from tuning.ledger.records import ScoredRecord
from tuning.ranking.policy import FINISHED_THEN_STOPPED

TELLING = 0.05
"""A model with a lower metric in domain has learned nothing that a shift could reduce."""


@dataclass(frozen=True)
class Line:
    """A scored model: a trial, or the pretrained baseline."""

    score: ScoredRecord
    trial: Trial | None = None
    standing: Standing | None = None
    """The metrics of the same weights on validation images."""

    @property
    def adapter(self) -> str:
        """The adapter's name, or the name of the baseline."""
        return PRETRAINED if self.trial is None else self.trial.adapter

    @property
    def freezing(self) -> str:
        """The freezing mode."""
        return "" if self.trial is None else self.trial.freezing


def scored_lines(sweep: Sweep, metric: str) -> tuple[Line, ...]:
    """The scored trial with the best validation value of each adapter and freezing mode; the baseline.

    A trial that was stopped early is only taken if no trial of its kind ran to its own end. The order
    is that of `metric` on test images, best first. Raises NothingToRankError, with the reason, if no
    trial is scored.
    """
    objective = replace(sweep.objective, rule=ValueRule.BEST)  # the weights are those of the best report
    scored = [trial for trial in sweep.trials if trial.number in sweep.scores]
    best: dict[tuple[str, str], Line] = {}
    for trial, standing in rank_trials(scored, objective, FINISHED_THEN_STOPPED):
        line = Line(sweep.scores[trial.number], trial, standing)
        best.setdefault((trial.adapter, trial.freezing), line)
    if not best:
        raise NothingToRankError(_why_none(sweep))
    lines = list(best.values())
    if None in sweep.scores:
        lines.append(Line(sweep.scores[None]))
    up = MetricName.of(metric).direction(sweep.experiment.task) is Direction.MAXIMIZE

    def place(line: Line) -> float:
        value = scored_value(line.score, metric)
        return math.inf if value is None else -value if up else value

    return tuple(sorted(lines, key=place))


def cut_short(lines: Iterable[Line]) -> str:
    """The part of a caption that names the trials that were stopped early; empty if there are none."""
    found = [line.trial for line in lines if line.trial is not None and not line.trial.finished]
    if not found:
        return ""
    said = ", ".join(
        f"trial {t.number} ({t.shown} after {format_budget(t.ran, t.epochs)} epochs)" for t in found
    )
    return f". No trial of its kind ran to its own end, so with a smaller budget than the others: {said}"


def _why_none(sweep: Sweep) -> str:
    said = f"{sweep.name}: no trial is scored on test images; "
    if sweep.unscored:
        return said + f"scoring failed: {next(iter(sweep.unscored.values()))}"
    if sweep.experiment.scoring.trials is Scored.NONE:
        return said + "its file has scoring.trials: none. Use `adaptertune evaluate NAME:TRIAL`"
    return said + (
        "that is done once a sweep has finished, if the data has test images or domains."
        " Use `adaptertune evaluate NAME:TRIAL`"
    )


def domain_table(sweep: Sweep, metric: str | None = None) -> Table:
    """One row for each adapter and freezing mode: the metric in domain, and in each domain with its share.

    metric: by default the task's main one. Raises NothingToRankError, QueryError if it is unknown.
    """
    metric = metric or sweep.experiment.task.facts.main_metric
    lines = scored_lines(sweep, metric)
    if not any(metric in line.score.metrics for line in lines):
        known = ", ".join(sorted({name for line in lines for name in line.score.metrics}))
        raise QueryError(f"no metric '{metric}' on test images in {sweep.name}; there are {known or 'none'}")
    names = _domains(sweep, lines)
    rows = tuple(_row(line, metric, names) for line in lines)
    picked = f"validation {sweep.objective.metric}"
    columns = ("adapter", "freezing", "trial", "at epoch", picked, "in domain", *names)
    caption = (
        f"{metric} on test images, of the scored trial that is best on validation images"
        f" ({sweep.objective.metric})"
    )
    caption += cut_short(lines)
    if names:
        caption += f". In brackets: relative robustness, shifted ÷ in domain, from {TELLING} in domain on"
    return Table(
        f"{sweep.name}: {metric} {'in domain and shifted' if names else 'on test images'}",
        columns,
        rows,
        caption,
        numeric=tuple(range(2, len(columns))),
    )


def _domains(sweep: Sweep, lines: tuple[Line, ...]) -> tuple[str, ...]:
    """The domains in the order of the file; a domain without images has no column."""
    return tuple(
        name for name in sweep.experiment.data.domains if any(name in x.score.domains for x in lines)
    )


def _row(line: Line, metric: str, names: tuple[str, ...]) -> tuple[str, ...]:
    inside = scored_value(line.score, metric)
    return (
        line.adapter,
        line.freezing,
        "" if line.trial is None else str(line.trial.number),
        "" if line.score.epoch is None else f"{line.score.epoch:g}",
        "" if line.standing is None else format_metric(line.standing.value),
        format_metric(inside),
        *(_shifted(line.score.domains.get(name, {}).get(metric), inside) for name in names),
    )


def _shifted(value: float | None, inside: float | None) -> str:
    if value is None or not inside or inside < TELLING:
        return format_metric(value)
    return f"{format_metric(value)} ({value / inside:.2f})"


def domain_json(sweep: Sweep) -> dict[str, JsonValue]:
    """The same rows for programs, with every metric. Raises NothingToRankError."""
    main = sweep.experiment.task.facts.main_metric
    lines = scored_lines(sweep, main)
    return {
        "experiment": sweep.name,
        "measured_on": "test",
        "picked_on": "validation",
        "picked_by": sweep.objective.metric,
        "main": main,
        "domains": list(_domains(sweep, lines)),
        "rows": [_line_json(line) for line in lines],
        "failed": [{"trial": number, "reason": why} for number, why in sweep.unscored.items()],
    }


def _line_json(line: Line) -> JsonValue:
    trial = line.trial
    return {
        "adapter": None if trial is None else trial.adapter,
        "freezing": None if trial is None else trial.freezing,
        "untouched": trial is None,
        "trial": None if trial is None else trial.number,
        "outcome": None if trial is None else trial.shown,
        "ran_epochs": None if trial is None else trial.ran,
        "of_epochs": None if trial is None else trial.epochs,
        "epoch": line.score.epoch,
        "validation": None if line.standing is None else line.standing.value,
        **scored_json(line.score),
    }
