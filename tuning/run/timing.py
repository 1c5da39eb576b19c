"""Times the scored trials in turns after the scoring, in one Ray task, so that latencies can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from trainables.specs.job import TimingJob, TimingResult
from tuning.checkpoints.owners import owner_of
from tuning.ledger.history import History
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.storage import trial_folder
from tuning.run.trial_tasks import POLL_INTERVAL_S, TrialTasks, is_removed, reason_of_loss

TIMER = "trainables.workers.time_models:time_models"

Timer = Callable[[TimingJob], TimingResult]
"""Times several models."""


@dataclass(frozen=True)
class Timing:
    """Times all scored trials whose weights are kept, with the resources of one trial, alone on the cluster.

    timer: replaces the default timer.
    """

    tasks: TrialTasks
    timer: Timer | None = None

    def run(self, recorder: Recorder) -> str | None:
        """Record each trial's score again, with its latency; a trial's newest score counts.

        Returns the reason if nothing could be measured: a sweep is complete without it. Raises Halt when an
        end is requested.
        """
        weights = self._weights(recorder.history)
        scores = recorder.history.scores
        # Latencies from different times cannot be compared, so a new trial means a new measurement of all.
        if all(scores[number].latency_low_ms is not None for number in weights):
            return None
        import ray

        tasks = self.tasks
        task = tasks.submitter(self.timer, TIMER)(
            TimingJob(
                experiment=tasks.folder,
                workload=tasks.experiment.workload,
                prepared=tasks.prepared,
                threads=tasks.experiment.resources.threads,
                weights=weights,
                folders={number: trial_folder(tasks.folder, number) for number in weights},
                owners={
                    number: owner_of(tasks.experiment, recorder.history.trials[number]) for number in weights
                },
            )
        )
        try:
            while not ray.wait([task], timeout=POLL_INTERVAL_S)[0]:
                tasks.halt_if_asked()
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

    def _weights(self, history: History) -> dict[int, str]:
        """The weights of all scored trials that still have them, by number."""
        return {
            number: str(self.tasks.weights_of(number))
            for number, score in sorted(history.scores.items(), key=lambda entry: entry[0] or 0)
            if number is not None and score.reason is None and not is_removed(history, number)
        }
