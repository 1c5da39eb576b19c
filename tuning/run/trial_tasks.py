"""Ray tasks after the search, each with the resources of one trial. ray is imported only to submit one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.capacity import Needs
from trainables.run_folder import BEST_WEIGHTS
from trainables.storage_paths import Place
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt
from tuning.ledger.storage import checkpoint_root, trial_folder

POLL_INTERVAL_S = 0.5


@dataclass(frozen=True)
class TrialTasks:
    """What all tasks after the search of an experiment need.

    prepared: the folder of the prepared data.  needs: what one task reserves.  stopped: whether a signal or
    `adaptertune stop` asks for an end.
    """

    experiment: Experiment
    folder: Path
    prepared: Path
    needs: Needs
    stopped: Callable[[], bool]

    def submitter(self, given: Callable[[Any], Any] | None, default: str) -> Callable[[Any], Any]:
        """Return what starts `given`, or else the function named `default`, and returns the Ray task."""
        import ray

        from cluster.remote_call import call_by_name

        # Without a limit on calls, a worker on a GPU keeps its backbone for the next task.
        needs = self.needs
        options = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory or None}
        options |= {"max_retries": 0, "max_calls": 0}
        if given is not None:
            remote = ray.remote(**options)(given)
            return lambda job: remote.remote(job)
        named = ray.remote(**options)(call_by_name)
        return lambda job: named.remote(default, job)

    def halt_if_asked(self) -> None:
        """Raise Halt if an end is requested."""
        if self.stopped():
            raise Halt(Ending.INTERRUPTED)

    def weights_of(self, trial: int) -> Place:
        """Where the best weights of a trial are, if they were kept."""
        return trial_folder(checkpoint_root(self.experiment, self.folder), trial) / BEST_WEIGHTS


def is_removed(history: History, trial: int | None) -> bool:
    """Whether a trial's weights were removed to keep the budget; False for the pretrained baseline."""
    return trial is not None and BEST_WEIGHTS in history.trials[trial].removed


def reason_of_loss(error: Exception) -> str:
    """Why a Ray task has no result."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        cause = getattr(error, "cause", error)
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its worker process was killed: the machine ran out of memory"
    return "its worker process died"
