"""Scoring trials on test images and domains after the search, in Ray tasks.

Trials are selected by their values on validation images; test scores change no ranking. ray is imported
only if there is something to score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.run_folder import BEST_WEIGHTS
from trainables.specs.job import ScoringJob, ScoringResult
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import Ending, ScoredRecord, ScoringRecord
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.ranking.finalists import Candidate, candidates

SCORER = "trainables.workers.score_trial:score_trial"
POLL_INTERVAL_S = 0.5
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


def is_removed(history: History, trial: int | None) -> bool:
    """Whether a trial's weights were removed to keep the budget; False for the pretrained baseline."""
    return trial is not None and BEST_WEIGHTS in history.trials[trial].removed


@dataclass(frozen=True)
class Scoring:
    """Scores candidates in Ray tasks with the resources of a trial, at most `most` at once.

    stopped: whether a signal or `adaptertune stop` asks for an end.  scorer: replaces the default scorer.
    """

    experiment: Experiment
    folder: Path
    prepared: Path
    cpus: float
    gpus: float
    most: int
    stopped: Callable[[], bool]
    scorer: Scorer | None = None

    def run(self, recorder: Recorder) -> None:
        """Score all candidates and record each result as soon as it is ready, including failures.

        Raises Halt when an end is requested; the results recorded so far are kept.
        """
        chosen = candidates(self.experiment, recorder.history)
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

        submit = self._task()
        running: dict[Any, Candidate] = {}
        try:
            while waiting or running:
                if self.stopped():
                    raise Halt(Ending.INTERRUPTED)
                while waiting and len(running) < self.most:
                    candidate = waiting.pop(0)
                    running[submit(self._job(candidate))] = candidate
                for done in ray.wait(list(running), timeout=POLL_INTERVAL_S)[0]:
                    recorder.record(_record(running.pop(done), _outcome(done)))
        finally:
            for task in running:
                ray.cancel(task, force=True)

    def _is_gone(self, history: History, candidate: Candidate) -> bool:
        """Whether the weights are really removed: a store that did not answer may still have them."""
        if candidate.trial is None or not is_removed(history, candidate.trial):
            return False
        kept = trial_folder(checkpoint_root(self.experiment, self.folder), candidate.trial)
        return not (kept / BEST_WEIGHTS).exists()

    def _task(self) -> Callable[[ScoringJob], Any]:
        import ray

        from cluster.remote_call import call_by_name

        # Without a limit on calls, a worker on a GPU keeps its backbone for the next task.
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0, "max_calls": 0}
        if self.scorer is not None:
            given = ray.remote(**options)(self.scorer)
            return lambda job: given.remote(job)
        named = ray.remote(**options)(call_by_name)
        return lambda job: named.remote(SCORER, job)

    def _job(self, candidate: Candidate) -> ScoringJob:
        number = candidate.trial
        kept = checkpoint_root(self.experiment, self.folder)
        return ScoringJob(
            experiment=self.folder,
            workload=self.experiment.workload,
            prepared=self.prepared,
            threads=self.experiment.resources.threads,
            trial=number,
            folder=None if number is None else trial_folder(self.folder, number),
            weights=None if number is None else str(trial_folder(kept, number) / BEST_WEIGHTS),
        )


def _outcome(task: Any) -> ScoringResult:
    import ray

    try:
        result: ScoringResult = ray.get(task)
    except ray.exceptions.RayError as error:
        return ScoringResult(reason=reason_of_loss(error))
    return result


def reason_of_loss(error: Exception) -> str:
    """Why a Ray task has no result."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        cause = getattr(error, "cause", error)
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its worker process was killed: the machine ran out of memory"
    return "its worker process died"


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
