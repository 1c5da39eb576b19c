"""Times the scored trials in turns after the scoring, in one Ray task, so that latencies can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.run_folder import BEST_WEIGHTS
from trainables.specs.job import TimingJob, TimingResult
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import Ending
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.run.scoring import POLL_INTERVAL_S, is_removed, reason_of_loss

TIMER = "trainables.workers.time_models:time_models"

Timer = Callable[[TimingJob], TimingResult]
"""Times several models."""


@dataclass(frozen=True)
class Timing:
    """Times all scored trials whose weights are kept, with the resources of one trial, alone on the cluster.

    stopped: whether a signal or `adaptertune stop` asks for an end.  timer: replaces the default timer.
    """

    experiment: Experiment
    folder: Path
    prepared: Path
    cpus: float
    gpus: float
    stopped: Callable[[], bool]
    timer: Timer | None = None

    def run(self, recorder: Recorder) -> str | None:
        """Record each trial's score again, with its latency; a trial's newest score counts.

        Returns the reason if nothing could be measured: a sweep is complete without it. Raises Halt when an
        end is requested.
        """
        weights = _weights(self.experiment, self.folder, recorder.history)
        scores = recorder.history.scores
        # Latencies from different times cannot be compared, so a new trial means a new measurement of all.
        if all(scores[number].latency_low_ms is not None for number in weights):
            return None
        import ray

        task = self._submit(
            TimingJob(
                experiment=self.folder,
                workload=self.experiment.workload,
                prepared=self.prepared,
                threads=self.experiment.resources.threads,
                weights=weights,
                folders={number: trial_folder(self.folder, number) for number in weights},
            )
        )
        try:
            while not ray.wait([task], timeout=POLL_INTERVAL_S)[0]:
                if self.stopped():
                    raise Halt(Ending.INTERRUPTED)
            result: TimingResult = ray.get(task)
        except ray.exceptions.RayError as error:
            return reason_of_loss(error)
        except Halt:
            ray.cancel(task, force=True)
            raise
        for number, latency in result.latency.items():
            recorder.record(
                scores[number].model_copy(
                    update={
                        "time": time.time(),
                        "latency_ms": latency.median_ms,
                        "latency_low_ms": latency.low_ms,
                        "latency_high_ms": latency.high_ms,
                    }
                )
            )
        return result.reason

    def _submit(self, job: TimingJob) -> Any:
        import ray

        from cluster.remote_call import call_by_name

        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0, "max_calls": 0}
        if self.timer is not None:
            return ray.remote(**options)(self.timer).remote(job)
        return ray.remote(**options)(call_by_name).remote(TIMER, job)


def _weights(experiment: Experiment, folder: Path, history: History) -> dict[int, str]:
    """The weights of all scored trials that still have them, by number."""
    kept = checkpoint_root(experiment, folder)
    return {
        number: str(trial_folder(kept, number) / BEST_WEIGHTS)
        for number, score in sorted(history.scores.items(), key=lambda entry: entry[0] or 0)
        if number is not None and score.reason is None and not is_removed(history, number)
    }
