"""Scoring trials on test images and domains after the search, in Ray tasks.

Trials are selected by their values on validation images; test scores change no ranking. ray is imported
only if there is something to score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainables.specs.job import ScoringJob, ScoringResult
from tuning.checkpoints.owners import owner_of
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ScoredRecord, ScoringRecord
from tuning.ledger.storage import trial_folder
from tuning.ranking.finalists import Candidate, candidates
from tuning.run.trial_tasks import POLL_INTERVAL_S, TrialTasks, is_removed, reason_of_loss

SCORER = "trainables.workers.score_trial:score_trial"
REMOVED = "its weights were removed to keep checkpoints.budget_gb; train it again, or raise the budget"

Scorer = Callable[[ScoringJob], ScoringResult]
"""Scores one model."""


def has_scores_to_retry(experiment: Experiment, history: History) -> bool:
    """Whether a trial could not be scored, and should be tried again on resume."""
    failed = {number for number, score in history.scores.items() if score.reason is not None}
    return bool(failed) and any(
        candidate.trial in failed and not is_removed(history, candidate.trial)
        for candidate in candidates(experiment, history)
    )


def _is_scored(history: History, candidate: Candidate) -> bool:
    known = history.scores.get(candidate.trial)
    return known is not None and known.reason is None and known.epoch == candidate.epoch


@dataclass(frozen=True)
class Scoring:
    """Scores candidates, at most `most` at once.  scorer: replaces the default scorer."""

    tasks: TrialTasks
    most: int
    scorer: Scorer | None = None

    def run(self, recorder: Recorder) -> None:
        """Score all candidates and record each result as soon as it is ready, including failures.

        Raises Halt when an end is requested; the results recorded so far are kept.
        """
        chosen = candidates(self.tasks.experiment, recorder.history)
        if not chosen:
            return
        recorder.record(ScoringRecord(trials=[candidate.trial for candidate in chosen]))
        # An earlier driver may have scored some of them.
        waiting = [candidate for candidate in chosen if not _is_scored(recorder.history, candidate)]
        gone = [candidate for candidate in waiting if self._is_gone(recorder.history, candidate)]
        waiting = [candidate for candidate in waiting if candidate not in gone]
        for candidate in gone:
            if candidate.trial not in recorder.history.scores:
                recorder.record(_record(candidate, ScoringResult(reason=REMOVED)))
        import ray

        submit = self.tasks.submitter(self.scorer, SCORER)
        running: dict[Any, Candidate] = {}
        try:
            while waiting or running:
                self.tasks.halt_if_asked()
                while waiting and len(running) < self.most:
                    candidate = waiting.pop(0)
                    running[submit(self._job(candidate, recorder.history))] = candidate
                for done in ray.wait(list(running), timeout=POLL_INTERVAL_S)[0]:
                    recorder.record(_record(running.pop(done), _outcome(done)))
        finally:
            for task in running:
                ray.cancel(task, force=True)

    def _is_gone(self, history: History, candidate: Candidate) -> bool:
        """Whether the weights are really removed: a store that did not answer may still have them."""
        if candidate.trial is None or not is_removed(history, candidate.trial):
            return False
        return not self.tasks.weights_of(candidate.trial).exists()

    def _job(self, candidate: Candidate, history: History) -> ScoringJob:
        number, tasks = candidate.trial, self.tasks
        return ScoringJob(
            experiment=tasks.folder,
            workload=tasks.experiment.workload,
            prepared=tasks.prepared,
            threads=tasks.experiment.resources.threads,
            trial=number,
            owner=None if number is None else owner_of(tasks.experiment, history.trials[number]),
            folder=None if number is None else trial_folder(tasks.folder, number),
            weights=None if number is None else str(tasks.weights_of(number)),
        )


def _outcome(task: Any) -> ScoringResult:
    import ray

    try:
        result: ScoringResult = ray.get(task)
    except ray.exceptions.RayError as error:
        return ScoringResult(reason=reason_of_loss(error))
    return result


def _record(candidate: Candidate, result: ScoringResult) -> ScoredRecord:
    return ScoredRecord(
        trial=candidate.trial,
        epoch=candidate.epoch,
        metrics=_finite(result.metrics),
        domains={name: _finite(metrics) for name, metrics in result.domains.items()},
        robustness=_finite(result.robustness),
        above_floor=result.above_floor,
        reason=result.reason,
    )


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
