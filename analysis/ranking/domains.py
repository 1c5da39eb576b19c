"""Metrics on test images, in domain and under domain shift, by adapter and freezing mode.

The trials were picked by their values on validation images, so test metrics did not pick themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.floors import COLLAPSED, Part, collapsed_caption, marked
from analysis.query.sweep import QueryError, Standing, Sweep, Trial, names_in_words
from analysis.ranking.best import rank_trials
from analysis.ranking.by_adapter import PRETRAINED
from analysis.ranking.scored_metrics import scored_json
from analysis.tables import Table, format_budget, format_metric
from trainables.metrics.above_floor import collapsed, relative_robustness
from trainables.specs.definition_words import definitions_in_words
from trainables.specs.workload import Direction, MetricName, ValueRule
from tuning.experiment.sections.scoring import Scored
from tuning.ledger.records import ScoredRecord
from tuning.ranking.policy import FINISHED_THEN_STOPPED

TELLING = 0.05
"""In records without floors: a model with a lower metric in domain has learned nothing that a shift could
reduce."""


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

    def value(self, metric: str, domain: str | None = None) -> float | None:
        """A metric such as `dice/cat` in a domain; None: in the data's own."""
        metrics = self.score.metrics if domain is None else self.score.domains.get(domain, {})
        return metrics.get(metric)

    def collapsed(self, metric: str, domain: str | None = None) -> bool | None:
        """Whether the model is no better there than a constant predictor; None if that is not recorded."""
        return collapsed(self.score.above_floor.get(metric if domain is None else f"{metric}@{domain}"))


def shown_metric(sweep: Sweep) -> str:
    """The objective's metric without its domain; the task's main one for an objective on robustness."""
    return sweep.experiment.workload.metric_in_domain


def shares(sweep: Sweep, line: Line, metric: str) -> dict[str, float]:
    """The relative robustness by domain: the metric there as a share of the one in domain.

    With floors both are measured above them. A metric of which lower is better has no shares, and nor has
    a model that has collapsed in domain: what is left of nothing says nothing.
    """
    own, definitions = line.value(metric), sweep.experiment.workload.definitions
    shifted = {name: line.value(metric, name) for name in line.score.domains}
    if not definitions.with_floors:
        return {n: v / own for n, v in shifted.items() if own and own >= TELLING and v is not None}
    floor = sweep.floors.at(metric, Part.TEST)
    if floor is None or line.collapsed(metric):
        return {}
    floors = {name: sweep.floors.at(f"{metric}@{name}", Part.TEST) or 0.0 for name in shifted}
    return relative_robustness(own, shifted, definitions=definitions, own_floor=floor, floors=floors)


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
        value = line.value(metric)
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

    metric: by default that of the objective. Raises NothingToRankError, QueryError if it is unknown.
    """
    metric = metric or shown_metric(sweep)
    lines = scored_lines(sweep, metric)
    if not any(metric in line.score.metrics for line in lines):
        known = names_in_words({name for line in lines for name in line.score.metrics}, ())
        raise QueryError(f"no metric '{metric}' on test images in {sweep.name}; there are {known}")
    names = _domains(sweep, lines)
    rows = [_row(sweep, line, metric, names) for line in lines]
    if (floors := _floor_row(sweep, metric, names)) is not None:
        rows.append(floors)
    picked = f"validation {sweep.objective.metric}"
    columns = ("adapter", "freezing", "trial", "at epoch", picked, "in domain", *names)
    caption = (
        f"{metric} on test images, of the scored trial that is best on validation images"
        f" ({sweep.objective.metric})"
    )
    caption += cut_short(lines)
    caption += what_marks_mean(sweep, lines, metric, names)
    return Table(
        f"{sweep.name}: {metric} {'in domain and shifted' if names else 'on test images'}",
        columns,
        tuple(rows),
        caption,
        numeric=tuple(range(2, len(columns))),
    )


def what_marks_mean(sweep: Sweep, lines: Iterable[Line], metric: str, names: Iterable[str]) -> str:
    """The part of a caption on the brackets and on the row of floors."""
    names, text = tuple(names), ""
    if not sweep.experiment.workload.definitions.with_floors:
        how = f"relative robustness, shifted ÷ in domain, from {TELLING} in domain on"
        return f". In brackets: {how}" if names else ""
    if (floor := sweep.floors.at(metric, Part.TEST)) is not None and names:
        text += ". In brackets: relative robustness, shifted ÷ in domain"
        text += ", each minus its floor" if floor or sweep.floors.recorded else ""
    if floor is not None:
        text += f". {FLOOR}: what the best constant predictor reaches on the same images"
    said = [metric] if any(line.collapsed(metric, part) for line in lines for part in (None, *names)) else []
    if any(line.standing is not None and line.standing.collapsed for line in lines):
        said.append(sweep.objective.metric)
    return text + "".join(f". {collapsed_caption(name)}" for name in dict.fromkeys(said))


FLOOR = "floor"
"""The name of the row of floors."""


def _floor_row(sweep: Sweep, metric: str, names: tuple[str, ...]) -> tuple[str, ...] | None:
    found = [sweep.floors.at(metric, Part.TEST)]
    found += [sweep.floors.at(f"{metric}@{name}", Part.TEST) for name in names]
    if all(floor is None for floor in found):
        return None
    picked = sweep.floors.at(sweep.objective.metric)
    return (FLOOR, "", "", "", format_metric(picked), *map(format_metric, found))


def _domains(sweep: Sweep, lines: tuple[Line, ...]) -> tuple[str, ...]:
    """The domains in the order of the file; a domain without images has no column."""
    return tuple(
        name for name in sweep.experiment.data.domains if any(name in x.score.domains for x in lines)
    )


def _validated(sweep: Sweep, line: Line) -> str:
    """The objective on validation images: of the line's weights, or of the pretrained baseline."""
    if line.standing is not None:
        return marked(format_metric(line.standing.value), is_collapsed=line.standing.collapsed)
    value = _validation_value(sweep, line)
    return "" if value is None else format_metric(value)


def _validation_value(sweep: Sweep, line: Line) -> float | None:
    if line.standing is not None:
        return line.standing.value
    return sweep.baseline.get(sweep.objective.metric) if line.trial is None else None


def _row(sweep: Sweep, line: Line, metric: str, names: tuple[str, ...]) -> tuple[str, ...]:
    found = shares(sweep, line, metric)
    return (
        line.adapter,
        line.freezing,
        "" if line.trial is None else str(line.trial.number),
        "" if line.score.epoch is None else f"{line.score.epoch:g}",
        _validated(sweep, line),
        *(
            format_metric(line.value(metric, part)) + marks(line, metric, part, found)
            for part in (None, *names)
        ),
    )


def marks(line: Line, metric: str, domain: str | None, found: Mapping[str, float]) -> str:
    """The brackets after a value: its share of the one in domain, and whether it has collapsed."""
    said = [f"{found[domain]:.2f}"] if domain is not None and domain in found else []
    said += [COLLAPSED] if line.collapsed(metric, domain) else []
    return f" ({', '.join(said)})" if said else ""


def domain_json(sweep: Sweep, metric: str | None = None) -> dict[str, JsonValue]:
    """The same rows for programs, with every metric. Raises NothingToRankError."""
    metric, main = metric or shown_metric(sweep), sweep.experiment.task.facts.main_metric
    lines = scored_lines(sweep, metric)
    return {
        "experiment": sweep.name,
        "measured_on": "test",
        "picked_on": "validation",
        "picked_by": sweep.objective.metric,
        "metric": metric,
        "main": main,
        "definitions": dict(
            definitions_in_words(sweep.experiment.workload.definitions, sweep.experiment.task)
        ),
        "floors": {images: dict(floors) for images, floors in sweep.floors.recorded.items()},
        "domains": list(_domains(sweep, lines)),
        "rows": [_line_json(sweep, line) | {"relative": dict(shares(sweep, line, metric))} for line in lines],
        "failed": [{"trial": number, "reason": why} for number, why in sweep.unscored.items()],
    }


def _line_json(sweep: Sweep, line: Line) -> dict[str, JsonValue]:
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
        "validation": _validation_value(sweep, line),
        **scored_json(line.score),
        "collapsed": {name: collapsed(interval) for name, interval in line.score.above_floor.items()},
    }
