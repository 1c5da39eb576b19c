"""The record as rows of four tables: trials, epochs, events, scores.

trials  the state of a trial at the end of a range of the record; its newest row counts
epochs  a report; if `replaces`, earlier reports of the trial from the same epoch on no longer count
events  every other record, with its fields as JSON, including those with metrics on test images
scores  metrics on test images; a trial's newest row counts
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables.errors import AdaptertuneError
from trainables.metrics.above_floor import collapsed
from trainables.specs.workload import ValueRule
from tuning.ledger.history import TrialHistory
from tuning.ledger.records import ExperimentRecord, Record, ReportRecord, ScoredRecord
from tuning.ledger.trial_values import PARTS
from tuning.ranking.standing import Objective, standing

if TYPE_CHECKING:  # importing these would take a third of the time of a query
    from trainables.specs.trial import TrialConfig
    from tuning.experiment.spec import Experiment

Scalar = str | int | float | bool | None
Row = dict[str, Scalar]

TABLES = ("trials", "epochs", "events", "scores")
RUNNING = "running"
"""The outcome of a trial that has not ended: it runs, or its driver died."""
COUNTED = (*PARTS, "total")
"""The parts of a model that have parameter counts."""

KINDS: dict[str, dict[str, str]] = {
    "trials": {
        "trial": "INTEGER",
        "outcome": "VARCHAR",
        "value": "DOUBLE",
        "epoch": "DOUBLE",
        "best": "DOUBLE",
        "best_epoch": "DOUBLE",
        "last": "DOUBLE",
        "last_epoch": "DOUBLE",
        "ran": "DOUBLE",
        "seconds": "DOUBLE",
        "peak_mb": "DOUBLE",
        "stopped_by": "VARCHAR",
        "reason": "VARCHAR",
        "reuses": "INTEGER",
        "started": "DOUBLE",
        "ended": "DOUBLE",
        "hash": "VARCHAR",
        "params": "VARCHAR",
        **{f"parameters.{part}": "BIGINT" for part in COUNTED},
        "from_byte": "BIGINT",
        "upto": "BIGINT",
    },
    "epochs": {
        "trial": "INTEGER",
        "epoch": "DOUBLE",
        "step": "BIGINT",
        "objective": "DOUBLE",
        "time": "DOUBLE",
        "train_s": "DOUBLE",
        "evaluate_s": "DOUBLE",
        "wait_s": "DOUBLE",
        "samples": "BIGINT",
        "peak_mb": "DOUBLE",
        "replaces": "BOOLEAN",
        "byte": "BIGINT",
    },
    "events": {
        "time": "DOUBLE",
        "kind": "VARCHAR",
        "trial": "INTEGER",
        "detail": "VARCHAR",
        "byte": "BIGINT",
    },
    "scores": {
        "trial": "INTEGER",
        "epoch": "DOUBLE",
        "reason": "VARCHAR",
        "detail": "VARCHAR",
        "byte": "BIGINT",
    },
}
"""The columns of every part and their SQL types; the columns of settings and metrics follow them."""


LATENCY = ("latency_ms", "latency_low_ms", "latency_high_ms")
"""The columns of scores that are not metrics on test images: fields of `ScoredRecord`."""


OBJECTIVES = "objectives."
"""Before the name of a metric: the column of trials with its value, of several objectives or constraints."""
DRAWN = "drawn."
"""Before the name of a learning rate that the space scales: the column of trials with the drawn value."""
BROKEN = "broken"
"""The column of trials with the constraints that a trial does not keep; only where there is such a trial."""


WORTH = ("above_floor_low", "above_floor_high", "collapsed")
"""Columns of trials and epochs with a floor: of the report that gave the value, and of each report.

For AP and AR, only the sign of the low end is meant; see `trainables.metrics.above_floor.Interval`.
"""


def trial_row(trial: TrialHistory, experiment: Experiment, *, from_byte: int, upto: int) -> Row:
    """The row of a trial. Its metrics are those of the report that gave its value.

    value, epoch: by the experiment's rule.  best…, last…: independent of the rule.  from_byte: the first
    byte of the trial's lines in the record.  upto: the end of the range that the row covers.
    """
    own = Objective.of(experiment.workload)
    best = standing(trial.reports, replace(own, rule=ValueRule.BEST))
    last = standing(trial.reports, replace(own, rule=ValueRule.LAST))
    value = best if own.rule is ValueRule.BEST else last
    row: Row = {
        "trial": trial.number,
        "outcome": str(trial.outcome or RUNNING),
        "value": value.value if value else None,
        "epoch": value.epoch if value else None,
        "best": best.value if best else None,
        "best_epoch": best.epoch if best else None,
        "last": last.value if last else None,
        "last_epoch": last.epoch if last else None,
        "ran": trial.epoch,
        "seconds": trial.seconds,
        "peak_mb": trial.peak_mb,
        "stopped_by": str(trial.stopped.by) if trial.stopped is not None else None,
        "reason": trial.ended.reason if trial.ended is not None else None,
        "reuses": trial.ended.of if trial.ended is not None else None,
        "started": trial.started,
        "ended": trial.ended.time if trial.ended is not None else None,
        "hash": trial.hash,
        "params": json.dumps(dict(trial.params)),
        "from_byte": from_byte,
        "upto": upto,
    }
    if trial.ended is not None:  # so a table of one objective without constraints has no such columns
        row |= {f"{OBJECTIVES}{name}": number for name, number in trial.ended.values.items()}
        row |= {BROKEN: ", ".join(trial.ended.broken)} if trial.ended.broken else {}
    for part in COUNTED:
        row[f"parameters.{part}"] = (trial.parameters or {}).get(part)
    for name, setting in settings_of(trial.settings, experiment).items():
        row.setdefault(name, setting)
    for name in experiment.scaled_rates(trial.settings):  # no such columns where nothing is scaled
        row[f"{DRAWN}{name}"] = trial.settings[name]  # type: ignore[assignment]
    for name, metric in (value.metrics if value else {}).items():
        row[f"metrics.{name}"] = metric
    return row | _worth(value.above_floor if value else None)


def epoch_row(report: ReportRecord, *, byte: int, replaces: bool) -> Row:
    """The row of a report. byte: the first byte of its line, which orders the reports."""
    row: Row = {
        "trial": report.trial,
        "epoch": report.epoch,
        "step": report.step,
        "objective": report.objective,
        "time": report.time,
        "train_s": report.train_s,
        "evaluate_s": report.evaluate_s,
        "wait_s": report.wait_s,
        "samples": report.samples,
        "peak_mb": report.peak_mb,
        "replaces": replaces,
        "byte": byte,
    }
    if report.lanes > 1:  # so a table without packs has no column of them
        row["lanes"] = report.lanes
    if report.image_size is not None:  # likewise
        row["image_size"] = "{}x{}".format(*report.image_size)
    row |= {f"metrics.{name}": value for name, value in report.metrics.items()}
    return row | _worth(report.above_floor)


def _worth(interval: tuple[float, float] | None) -> Row:
    """The interval of an objective minus its floor, and whether it says that the trial has collapsed."""
    if interval is None:
        return {}
    return dict(zip(WORTH, (*interval, collapsed(interval)), strict=True))


def event_row(record: Record, *, byte: int) -> Row:
    """The row of any other record. It does not repeat the experiment, which is the first line."""
    values: dict[str, Any] = (
        {"name": record.name} if isinstance(record, ExperimentRecord) else record.model_dump(mode="json")
    )
    for known in ("time", "trial", "kind"):
        values.pop(known, None)
    return {
        "time": record.time,
        "kind": str(getattr(record, "kind", type(record).__name__)),
        "trial": getattr(record, "trial", None),
        "detail": json.dumps(values, ensure_ascii=False),
        "byte": byte,
    }


def score_row(score: ScoredRecord, *, byte: int) -> Row:
    """The row of test metrics: in domain `dice`, shifted `dice@noisy`, their ratio `robustness@noisy`."""
    row: Row = {
        "trial": score.trial,
        "epoch": score.epoch,
        "reason": score.reason,
        "detail": score.model_dump_json(),
        "byte": byte,
    }
    for column in LATENCY:
        if (milliseconds := getattr(score, column)) is not None:
            row[column] = milliseconds
    for name, value in score.metrics.items():
        row[f"test.{name}"] = value
    for domain, metrics in score.domains.items():
        row |= {f"test.{name}@{domain}": value for name, value in metrics.items()}
    return row | {f"test.robustness@{domain}": value for domain, value in score.robustness.items()}


def settings_of(params: Mapping[str, Any], experiment: Experiment) -> dict[str, Scalar]:
    """All settings of a trial by dotted name; only its parameters if its configuration is invalid."""
    try:
        return flat_config(experiment.trial_config(dict(params)))
    except (AdaptertuneError, ValueError):
        return dict(_leaves(params))  # a trial with an invalid configuration has failed


def flat_config(config: TrialConfig) -> dict[str, Scalar]:
    """A configuration by dotted names, with the section of the chosen adapter only and all defaults."""
    from trainables.specs.adapters import SECTIONS  # loaded with the configuration, not for each question

    values = config.model_dump(mode="json")
    for adapter in SECTIONS:
        values.pop(adapter.value, None)
    if config.section is not None:
        values[config.adapter.value] = config.section.model_dump(mode="json")
    values["freezing"] = config.mode.value
    values["targets"] = [role.value for role in config.roles] if config.section is not None else None
    return dict(_leaves(values))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ",".join(str(item) for item in value)
        else:
            yield f"{prefix}{name}", value
