"""An experiment's record in memory: trials with their whole configuration."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from analysis.errors import QueryError
from analysis.query.floors import Floors
from trainables.specs.workload import MetricName
from tuning.experiment.scaled_rates import RATES
from tuning.experiment.spec import Experiment
from tuning.ledger.driver_state import driver_alive
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import RAN_TO_END, Outcome
from tuning.ledger.records import ReportRecord, ScoredRecord
from tuning.ledger.trial_values import trainable
from tuning.ranking.order import Entry
from tuning.ranking.policy import COMPARABLE
from tuning.ranking.standing import Objective, Standing, reached, standing, standing_at
from tuning.tables.rows import RUNNING, Scalar, settings_of

__all__ = [
    "Objective",
    "QueryError",
    "Scalar",
    "Standing",
    "Sweep",
    "Trial",
]

Item = TypeVar("Item")
MOST_CLASSES = 20
"""How many classes a message names."""
UNFINISHED = "unfinished"
"""The outcome that is shown for a trial that has not ended, and whose driver does not run."""


@dataclass(frozen=True)
class Trial:
    """One trial with its whole configuration, flat and with the defaults filled in."""

    number: int
    outcome: str
    params: Mapping[str, JsonValue]
    config: Mapping[str, Scalar]
    ran: float
    """Epochs it has run."""
    reports: tuple[ReportRecord, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stopped_by: str | None = None
    reason: str | None = None
    sweep: str = ""
    """The experiment's name."""
    idle: bool = False
    """Whether no driver runs its experiment."""
    values: Mapping[str, float] = field(default_factory=dict)
    """With several objectives or constraints: of each of their metrics, once it has ended."""
    broken: tuple[str, ...] = ()
    """The constraints that it does not keep."""

    @property
    def feasible(self) -> bool:
        """Whether it has not ended with a broken constraint."""
        return not self.broken

    @property
    def shown(self) -> str:
        """Its outcome for people: `unfinished` if it has not ended, but no driver runs it."""
        return UNFINISHED if self.idle and self.outcome == RUNNING else self.outcome

    @property
    def epochs(self) -> float:
        """Epochs it was to run."""
        epochs = self.config.get("epochs")
        return float(epochs) if isinstance(epochs, int | float) else 0.0

    @property
    def rates(self) -> dict[str, float]:
        """The learning rates at which it trains, of those that its space scales."""
        found = {name: self.config.get(name) for name in RATES if name in self.params}
        return {
            name: rate
            for name, rate in found.items()
            if isinstance(rate, float) and rate != self.params[name]
        }

    @property
    def peak_mb(self) -> float | None:
        """The most memory that a report found in use; None before the first."""
        return max((report.peak_mb for report in self.reports), default=None)

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
        return trainable(self.parameters) if self.parameters else None

    @property
    def finished(self) -> bool:
        """Whether it ran to its own end: all its epochs, or its own patience."""
        return self.outcome in RAN_TO_END

    @property
    def comparable(self) -> bool:
        """Whether its metrics are valid and its own: not failed, diverged or reused."""
        return self._ended_as in COMPARABLE

    @property
    def _ended_as(self) -> str | None:
        return None if self.outcome == RUNNING else self.outcome

    def standing(self, objective: Objective, at: float | None = None) -> Standing | None:
        """Its value; with `at`, from the reports up to that epoch, None if it did not reach it."""
        return standing(self.reports, objective, at) if reached(self.ran, at) else None

    def standing_at(self, objective: Objective, epoch: float) -> Standing | None:
        """Its value at an epoch, on images of the size that it had there; None if it did not reach it."""
        return standing_at(self.reports, objective, epoch) if reached(self.ran, epoch) else None

    def entry(self, standing: Standing | None) -> Entry:
        """What decides its place in a ranking by this standing."""
        value = None if standing is None else standing.value
        return Entry(self.number, self._ended_as, value, self.ran, self.sweep, self.feasible)


@dataclass(frozen=True)
class Sweep:
    """An experiment's record in memory."""

    name: str
    experiment: Experiment
    objective: Objective
    trials: tuple[Trial, ...]
    baseline: Mapping[str, float]
    """Metrics of the pretrained baseline; empty if they were not measured."""
    scores: Mapping[int | None, ScoredRecord] = field(default_factory=dict)
    """Metrics on test images of the trials that were chosen for scoring; None is the pretrained baseline."""
    unscored: Mapping[int | None, str] = field(default_factory=dict)
    """Why scoring failed, by trial."""
    floors: Floors = field(default_factory=Floors)
    """What the best constant predictor reaches on the same images."""

    @classmethod
    def at(cls, folder: Path) -> Sweep:
        """Read the record in `folder` as it is now. Raises LedgerError."""
        return cls.of(read_history(folder), idle=not driver_alive(folder))

    @classmethod
    def of(cls, history: History, *, idle: bool = False, trials: Sequence[Trial] | None = None) -> Sweep:
        """Convert a record. Raises LedgerError if this version cannot read its experiment.

        idle: whether no driver runs the experiment.  trials: all of them by number, if they are known.
        """
        experiment = experiment_of(history.header)
        objective = Objective.of(experiment.workload)
        if trials is None:
            trials = [recorded_trial(t, experiment, idle=idle) for _, t in sorted(history.trials.items())]
        metrics = history.baseline.metrics if history.baseline is not None else {}
        return cls(
            history.name,
            experiment,
            objective,
            tuple(trials),
            {name: value for name, value in metrics.items() if value is not None},
            {number: score for number, score in history.scores.items() if score.reason is None},
            {number: score.reason for number, score in history.scores.items() if score.reason is not None},
            Floors.of(experiment.workload, history.prepared),
        )

    def objective_for(self, metric: str | None) -> Objective:
        """The sweep's objective, or another metric in its own direction under the same rule.

        Raises QueryError, which names the recorded metrics, for an unknown one.
        """
        if metric is None or metric == self.objective.metric:
            return self.objective
        known = {name for trial in self.trials for report in trial.reports for name in report.metrics}
        return objective_of_metric(self.experiment, metric, known)

    def varied(self) -> tuple[str, ...]:
        """The settings that the sweep varies, in the order of the file."""
        return tuple(dict.fromkeys(name for trial in self.trials for name in trial.params))


def spread(items: Sequence[Item], most: int) -> tuple[Item, ...]:
    """At most `most` of the items, evenly spread over all of them."""
    if len(items) <= most:
        return tuple(items)
    return tuple(items[math.floor((i + 0.5) * len(items) / most)] for i in range(most))


def objective_of_metric(experiment: Experiment, metric: str, known: Iterable[str]) -> Objective:
    """Another metric in its own direction, under the experiment's rule. Raises QueryError if unknown."""
    known = set(known)
    if metric not in known:
        named = names_in_words(known, experiment.data.domains)
        raise QueryError(f"no metric '{metric}' in {experiment.name}; recorded are {named}")
    return Objective(
        metric, MetricName.of(metric).direction(experiment.workload.task), experiment.workload.objective.value
    )


def names_in_words(known: Iterable[str], domains: Container[str] | None = None) -> str:
    """The names of metrics, without those of classes and domains, which may be hundreds; then what these are.

    `dice, iou, loss; by class, as dice/CLASS: cat, dog; in domains, as dice@DOMAIN: noisy`.
    domains: those that the names may have, empty for names without one; see `MetricName.of`.
    """
    asked = [MetricName.of(name, domains) for name in sorted(known)]
    plain = [name.base for name in asked if name.of_class is None and name.domain is None]
    bases = dict.fromkeys(name.base for name in asked if name.of_class is not None)
    classes = dict.fromkeys(name.of_class for name in asked if name.of_class is not None)
    shifted = dict.fromkeys(name.domain for name in asked if name.domain is not None)
    said = [", ".join(plain)] if plain else []
    if classes:
        shown = ", ".join(map(str, [*classes][:MOST_CLASSES]))
        more = f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
        said.append(f"by class, as {next(iter(bases))}/CLASS: {shown}{more}")
    if shifted:
        said.append(f"in domains, as {asked[-1].base}@DOMAIN: {', '.join(map(str, shifted))}")
    return "; ".join(said) or "none yet"


def recorded_trial(history: TrialHistory, experiment: Experiment, *, idle: bool) -> Trial:
    """A trial of a record. idle: whether no driver runs its experiment."""
    return Trial(
        number=history.number,
        outcome=str(history.outcome or RUNNING),
        params=history.params,
        config=settings_of(history.settings, experiment),
        ran=history.epoch,
        reports=history.reports,
        parameters=history.parameters or {},
        seconds=history.seconds,
        stopped_by=str(history.stopped.by) if history.stopped is not None else None,
        reason=history.ended.reason if history.ended is not None else None,
        sweep=experiment.name,
        idle=idle,
        values=history.ended.values if history.ended is not None else {},
        broken=tuple(history.ended.broken) if history.ended is not None else (),
    )


def failure_lines(sweep: Sweep, most: int = 10, more: str = "") -> list[str]:
    """A line for each failed or diverged trial, at most `most`, and for each trial without a test score.

    more: added to the line that counts the others.
    """
    lost = [t for t in sweep.trials if t.outcome in (Outcome.FAILED, Outcome.DIVERGED)]
    texts = [f"trial {t.number} {t.outcome}: {t.reason or 'no reason recorded'}" for t in lost[:most]]
    if len(lost) > most:
        texts.append(f"… and {len(lost) - most} more{more}")
    for number, why in sweep.unscored.items():
        model = "the pretrained baseline" if number is None else f"trial {number}"
        texts.append(f"{model} could not be scored on test images: {why}")
    return texts
