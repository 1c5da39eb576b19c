"""After the search: which trials are scored on test images and domains, and the Ray tasks that do it.

Trials are picked by their values on validation images; nothing here changes a ranking. No torch,
and ray only once there is something to score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.folder import BEST_WEIGHTS
from trainables.workload import Direction, ValueRule
from tuning.experiment import Experiment, Scored
from tuning.history import History, TrialHistory
from tuning.records import RAN_OUT, Ending, Outcome, ScoredRecord, ScoringRecord
from tuning.state import Halt, Sweep
from tuning.storage import checkpoint_root, trial_folder

SCORER = "trainables.scorer:score_trial"
LOOK_EVERY_S = 0.5
REMOVED = "its weights were removed to keep checkpoints.budget_gb; train it again, or allow more"

Scorer = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a job (see `Scoring`), gives metrics, domains and robustness, or a reason why there are none."""

_HAS_WEIGHTS = (*RAN_OUT, Outcome.PRUNED, Outcome.STOPPED)


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
            return [trial for trial in ranked if trial.outcome in RAN_OUT]
        case Scored.NONE:
            return []


def _ranked(experiment: Experiment, history: History) -> Iterator[TrialHistory]:
    """Best first, those that ran to their own end before the others; ties go to the lower number."""
    last = experiment.objective.value is ValueRule.LAST
    fair = RAN_OUT if last else _HAS_WEIGHTS
    sign = experiment.workload.direction.sign
    found = [
        (trial.outcome not in RAN_OUT, sign * trial.value, number)
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


def to_retry(experiment: Experiment, history: History) -> bool:
    """Whether some trial could not be scored, and may be the next time."""
    failed = {number for number, score in history.scores.items() if score.reason is not None}
    return bool(failed) and any(
        candidate.trial in failed and not _is_removed(history, candidate)
        for candidate in candidates(experiment, history)
    )


def _is_scored(history: History, candidate: Candidate) -> bool:
    known = history.scores.get(candidate.trial)
    return known is not None and known.reason is None and known.epoch == candidate.epoch


def _is_removed(history: History, candidate: Candidate) -> bool:
    return candidate.trial is not None and BEST_WEIGHTS in history.trials[candidate.trial].removed


@dataclass(frozen=True)
class Scoring:
    """How candidates are scored: as tasks with a trial's resources, at most `most` at once.

    stopped: whether a signal or `adaptertune stop` asks for an end.  scorer: in place of ours.
    """

    experiment: Experiment
    folder: Path
    prepared: Path
    cpus: float
    gpus: float
    most: int
    stopped: Callable[[], bool]
    scorer: Scorer | None = None

    def run(self, sweep: Sweep) -> None:
        """Scores and records each candidate as soon as it is done; one that fails is recorded so.

        Raises Halt where an end is asked for; what is recorded by then is kept.
        """
        chosen = candidates(self.experiment, sweep.history)
        if not chosen:
            return
        sweep.record(ScoringRecord(trials=[candidate.trial for candidate in chosen]))
        # A driver before this one may have scored some.
        waiting = [candidate for candidate in chosen if not _is_scored(sweep.history, candidate)]
        gone = [candidate for candidate in waiting if self._is_gone(sweep.history, candidate)]
        waiting = [candidate for candidate in waiting if candidate not in gone]
        for candidate in gone:
            if candidate.trial not in sweep.history.scores:
                sweep.record(_record(candidate, {"reason": REMOVED}))
        import ray

        submit = self._task()
        running: dict[Any, Candidate] = {}
        try:
            while waiting or running:
                if self.stopped():
                    raise Halt(Ending.INTERRUPTED)
                while waiting and len(running) < self.most:
                    candidate = waiting.pop(0)
                    running[submit(self._job(candidate))] = candidate
                for done in ray.wait(list(running), timeout=LOOK_EVERY_S)[0]:
                    sweep.record(_record(running.pop(done), _outcome(done)))
        finally:
            for task in running:
                ray.cancel(task, force=True)

    def _is_gone(self, history: History, candidate: Candidate) -> bool:
        """What was recorded as removed may be there still, where a store did not answer."""
        if candidate.trial is None or not _is_removed(history, candidate):
            return False
        kept = trial_folder(checkpoint_root(self.experiment, self.folder), candidate.trial)
        return not (kept / BEST_WEIGHTS).exists()

    def _task(self) -> Callable[[dict[str, Any]], Any]:
        import ray

        from cluster.call import call

        # Without a limit on calls a worker on a graphics card, too, keeps its backbone for the next one.
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0, "max_calls": 0}
        if self.scorer is not None:
            given = ray.remote(**options)(self.scorer)
            return lambda job: given.remote(job)
        named = ray.remote(**options)(call)
        return lambda job: named.remote(SCORER, job)

    def _job(self, candidate: Candidate) -> dict[str, Any]:
        number = candidate.trial
        kept = checkpoint_root(self.experiment, self.folder)
        return {
            "trial": number,
            "weights": None if number is None else str(trial_folder(kept, number) / BEST_WEIGHTS),
            "folder": None if number is None else str(trial_folder(self.folder, number)),
            "workload": self.experiment.workload.model_dump_json(),
            "prepared": str(self.prepared),
            "threads": self.experiment.resources.threads,
        }


def _outcome(task: Any) -> dict[str, Any]:
    import ray

    try:
        given: dict[str, Any] = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", error)
        return {"reason": f"{type(cause).__name__}: {cause}".splitlines()[0]}
    except ray.exceptions.OutOfMemoryError:
        return {"reason": "its worker process was killed: the machine ran out of memory"}
    except ray.exceptions.RayError:
        return {"reason": "its worker process died"}
    return given


def _record(candidate: Candidate, given: dict[str, Any]) -> ScoredRecord:
    return ScoredRecord(
        trial=candidate.trial,
        epoch=candidate.epoch,
        metrics=_finite(given.get("metrics", {})),
        domains={name: _finite(figures) for name, figures in given.get("domains", {}).items()},
        robustness=_finite(given.get("robustness", {})),
        latency_ms=given.get("latency_ms"),
        reason=given.get("reason"),
    )


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
