"""Which trials are scored on test images after the search, and the epoch whose weights each kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.sections.scoring import Scored
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.records import RAN_TO_END, Outcome

_HAS_WEIGHTS = (*RAN_TO_END, Outcome.PRUNED, Outcome.STOPPED)


@dataclass(frozen=True)
class Candidate:
    """A trial and the epoch of its kept weights; the untouched model has neither."""

    trial: int | None = None
    epoch: float | None = None


def candidates(experiment: Experiment, history: History) -> list[Candidate]:
    """What is to be scored, best first, the untouched model last.

    That one only where its own head was measured on validation images. Nothing where there is
    nothing to score on, or no trial to score.
    """
    counts = history.prepared.counts if history.prepared is not None else {}
    if not counts.get("test") and not experiment.data.domains:
        return []
    picked = [Candidate(t.number, kept_epoch(experiment, t)) for t in _picked(experiment, history)]
    if picked and history.baseline is not None:
        picked.append(Candidate())
    return picked


def finalists(experiment: Experiment, history: History) -> frozenset[int]:
    """Those that would be scored if the search ended now; empty unless the file asks for finalists."""
    if experiment.scoring.trials is not Scored.FINALISTS:
        return frozenset()
    return frozenset(trial.number for trial in _picked(experiment, history))


def _picked(experiment: Experiment, history: History) -> list[TrialHistory]:
    ranked = list(_ranked(experiment, history))
    match experiment.scoring.trials:
        case Scored.FINALISTS:
            return ranked[: experiment.scoring.finalists]
        case Scored.ADAPTERS:
            first: dict[tuple[str, str], TrialHistory] = {}
            for trial in ranked:
                config = experiment.trial_config(trial.params)
                first.setdefault((config.adapter, config.mode), trial)
            return list(first.values())
        case Scored.EACH:
            return [trial for trial in ranked if trial.outcome in RAN_TO_END]
        case Scored.NONE:
            return []


def _ranked(experiment: Experiment, history: History) -> Iterator[TrialHistory]:
    """Best first, those that ran to their own end before the others; ties go to the lower number."""
    last = experiment.objective.value is ValueRule.LAST
    fair = RAN_TO_END if last else _HAS_WEIGHTS
    sign = experiment.workload.direction.sign
    found = [
        (trial.outcome not in RAN_TO_END, sign * trial.value, number)
        for number, trial in history.trials.items()
        if trial.outcome in fair and trial.value is not None
    ]
    return (history.trials[number] for *_, number in sorted(found))


def kept_epoch(experiment: Experiment, trial: TrialHistory) -> float | None:
    """The epoch of a trial's best report, whose weights it has kept whatever the rule of its value."""
    reports = [(report.epoch, report.metrics) for report in trial.reports]
    return best_report(reports, experiment.objective.metric, experiment.workload.direction)[0]


def best_report(
    reports: Sequence[tuple[float, Mapping[str, float | None]]], metric: str, direction: Direction
) -> tuple[float | None, dict[str, float]]:
    """Epoch and figures of the first of the best reports: the one whose weights the engine kept."""
    value, epoch, figures = direction.worst, None, {}
    for at, metrics in reports:
        new = metrics.get(metric)
        if new is not None and direction.better(new, value):
            value, epoch = new, at
            figures = {name: figure for name, figure in metrics.items() if figure is not None}
    return epoch, figures
