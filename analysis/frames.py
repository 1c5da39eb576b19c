"""The record read for questions: trials with their whole configuration. No ray, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue, ValidationError

from trainables.config import TrialConfig
from trainables.errors import AdaptertuneError, LedgerError
from trainables.workload import Direction, Figure, ValueRule
from tuning.experiment import Experiment
from tuning.ledger import History, Outcome, ReportRecord, ScoredRecord, TrialHistory

Scalar = str | int | float | bool | None

RUNNING = "running"
"""Stands for the outcome of a trial that has none: it runs, or its driver died."""


class QueryError(AdaptertuneError):
    """A question that the record cannot answer: an unknown figure, a wrong `--where`."""


@dataclass(frozen=True)
class Objective:
    """By which figure, in which direction and under which rule trials are compared."""

    metric: str
    direction: Direction
    rule: ValueRule


@dataclass(frozen=True)
class Standing:
    """A trial's value under an objective, and the epoch whose report gave it."""

    value: float
    epoch: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One trial with its whole configuration, flat and with the defaults filled in."""

    number: int
    outcome: str
    params: Mapping[str, JsonValue]
    config: Mapping[str, Scalar]
    epochs: float
    """Epochs it was to run."""
    ran: float
    """Epochs it has run."""
    reports: tuple[ReportRecord, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stopped_by: str | None = None
    reason: str | None = None

    @property
    def adapter(self) -> str:
        """The adapter's name."""
        return str(self.config.get("adapter", "?"))

    @property
    def freezing(self) -> str:
        """The freezing mode."""
        return str(self.config.get("freezing", "?"))

    @property
    def trainable(self) -> int | None:
        """Parameters that train, or will; None before the model was built."""
        if not self.parameters:
            return None
        return sum(self.parameters.get(part, 0) for part in ("adapter", "head", "backbone"))

    @property
    def finished(self) -> bool:
        """Whether it ran to its own end: all its epochs, or its own patience."""
        return self.outcome in (Outcome.COMPLETED, Outcome.EARLY_STOPPED)

    @property
    def comparable(self) -> bool:
        """Whether its figures are its own and hold: not failed, diverged or reused."""
        return self.outcome not in (Outcome.FAILED, Outcome.DIVERGED, Outcome.REUSED)

    def standing(self, objective: Objective, at: float | None = None) -> Standing | None:
        """Its value; with `at`, from the reports up to that epoch, None if it did not come so far."""
        if at is not None and self.ran < at - 1e-9:
            return None
        best: Standing | None = None
        for report in self.reports:
            value = report.metrics.get(objective.metric)
            if value is None or (at is not None and report.epoch > at + 1e-9):
                continue
            if (
                best is None
                or objective.rule is ValueRule.LAST
                or objective.direction.better(value, best.value)
            ):
                figures = {name: v for name, v in report.metrics.items() if v is not None}
                best = Standing(value, report.epoch, figures)
        return best


@dataclass(frozen=True)
class Sweep:
    """A record, read for questions."""

    name: str
    experiment: Experiment
    objective: Objective
    trials: tuple[Trial, ...]
    baseline: Mapping[str, float]
    """The untouched backbone's figures; empty if they were not taken."""
    scores: Mapping[int | None, ScoredRecord] = field(default_factory=dict)
    """Figures on test images of the trials that were picked for it, None the untouched model."""
    unscored: Mapping[int | None, str] = field(default_factory=dict)
    """Why some have none though they were picked."""

    @classmethod
    def of(cls, history: History) -> Sweep:
        """Raises LedgerError if this version cannot read the experiment that the record describes."""
        try:
            experiment = Experiment.model_validate_json(json.dumps(history.header.experiment))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise LedgerError(
                f"{history.name}: the recorded experiment does not fit this adaptertune"
                f" ({where}: {first['msg']}); use the version that ran it"
            ) from error
        workload = experiment.workload
        objective = Objective(workload.objective.metric, workload.direction, workload.objective.value)
        trials = tuple(_trial(t, experiment) for _, t in sorted(history.trials.items()))
        figures = history.baseline.metrics if history.baseline is not None else {}
        return cls(
            history.name,
            experiment,
            objective,
            trials,
            {name: value for name, value in figures.items() if value is not None},
            {number: score for number, score in history.scores.items() if score.reason is None},
            {number: score.reason for number, score in history.scores.items() if score.reason is not None},
        )

    def objective_for(self, metric: str | None) -> Objective:
        """The sweep's objective, or another figure in its own direction under the same rule.

        Raises QueryError, which names the figures there are, for an unknown one.
        """
        if metric is None or metric == self.objective.metric:
            return self.objective
        known = {name for trial in self.trials for report in trial.reports for name in report.metrics}
        if metric not in known:
            raise QueryError(
                f"no metric '{metric}' in {self.name}; recorded are {', '.join(sorted(known)) or 'none yet'}"
            )
        direction = Figure.of(metric).direction(self.experiment.workload.task)
        return Objective(metric, direction, self.objective.rule)

    def varied(self) -> tuple[str, ...]:
        """The settings that the sweep varies, in the order of the file."""
        return tuple(dict.fromkeys(name for trial in self.trials for name in trial.params))


def _trial(history: TrialHistory, experiment: Experiment) -> Trial:
    try:
        config = flat_config(experiment.trial_config(dict(history.params)))
    except (AdaptertuneError, ValueError):
        config = dict(_leaves(history.params))  # a configuration that could not be built is a failed trial
    epochs = config.get("epochs")
    return Trial(
        number=history.number,
        outcome=str(history.outcome or RUNNING),
        params=history.params,
        config=config,
        epochs=float(epochs) if isinstance(epochs, int | float) else 0.0,
        ran=history.epoch,
        reports=history.reports,
        parameters=history.parameters or {},
        seconds=history.seconds,
        stopped_by=str(history.stopped.by) if history.stopped is not None else None,
        reason=history.ended.reason if history.ended is not None else None,
    )


def flat_config(config: TrialConfig) -> dict[str, Scalar]:
    """Dotted names to plain values: the chosen adapter's section only, defaults filled in."""
    values = config.model_dump(mode="json")
    for section in ("lora", "adalora", "loha", "lokr", "serial_lora", "localized_lora", "peft"):
        values.pop(section, None)
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
