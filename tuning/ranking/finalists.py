"""Which trials are scored on test images after the search, and the epoch at which each kept its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.sections.scoring import Scored
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ranking.order import best_first, recorded_entry
from tuning.ranking.policy import FINISHED, Policy, finalist_policy
from tuning.ranking.standing import Objective, Reported, Standing, kept_report


@dataclass(frozen=True)
class Candidate:
    """A trial and the epoch of its kept weights; both are None for the pretrained baseline."""

    trial: int | None = None
    epoch: float | None = None


def candidates(experiment: Experiment, history: History) -> list[Candidate]:
    """What is to be scored: trials, best first, then the pretrained baseline.

    The baseline is scored only if its head was evaluated on validation images. The list is empty if
    there are no test images and no domains, or no trial to score.
    """
    counts = history.prepared.counts if history.prepared is not None else {}
    if not counts.get("test") and not experiment.data.domains:
        return []
    chosen = [Candidate(t.number, kept_epoch(experiment, t)) for t in _chosen(experiment, history)]
    if chosen and history.baseline is not None:
        chosen.append(Candidate())
    return chosen


def finalists(experiment: Experiment, history: History) -> frozenset[int]:
    """The trials that would be scored if the search ended now; empty unless the file asks for finalists."""
    if experiment.scoring.trials is not Scored.FINALISTS:
        return frozenset()
    return frozenset(trial.number for trial in _chosen(experiment, history))


def _chosen(experiment: Experiment, history: History) -> list[TrialHistory]:
    policy = finalist_policy(experiment.objective.value)
    match experiment.scoring.trials:
        case Scored.FINALISTS:
            return _ranked(experiment, history, policy, experiment.scoring.finalists)
        case Scored.ADAPTERS:
            first: dict[tuple[str, str], TrialHistory] = {}
            for trial in _ranked(experiment, history, policy):
                config = experiment.trial_config(trial.params)
                first.setdefault((config.adapter, config.mode), trial)
            return list(first.values())
        case Scored.EACH:
            return _ranked(experiment, history, FINISHED)
        case Scored.NONE:
            return []


def _ranked(
    experiment: Experiment, history: History, policy: Policy, most: int | None = None
) -> list[TrialHistory]:
    return best_first(history.trials.values(), recorded_entry, policy, experiment.workload.direction, most)


def kept_epoch(experiment: Experiment, trial: TrialHistory) -> float | None:
    """The epoch of the report whose weights a trial keeps; None before its first report."""
    kept = kept_report(trial.reports, Objective.of(experiment.workload))
    return None if kept is None else kept.epoch


@dataclass(frozen=True)
class RunReport:
    """A report of a run without a ledger."""

    epoch: float
    metrics: Mapping[str, float | None]
    above_floor: tuple[float, float] | None = None
    image_size: tuple[int, int] | None = None


def best_report(reports: Iterable[Reported], metric: str, direction: Direction) -> Standing | None:
    """The report whose weights the engine keeps, of a run without a ledger; None before the first."""
    return kept_report(reports, Objective(metric, direction, ValueRule.BEST))
