"""The trainable that the driver passes to Ray: it names the real one, which only workers import.

So the driver never imports torch, and starts some seconds faster.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cluster.forked.trainable import new_trainable
from cluster.job_protocols import TrainableJob
from cluster.node_setup import UnfitNodeError, with_local_data
from cluster.paused_collector import collector_paused

with collector_paused():
    from ray import tune


class Worker(tune.Trainable):  # type: ignore[misc]
    """Delegates all calls to the trainable that a job names.

    Ray's configuration has the job as `job` (`cluster.job_protocols.TrainableJob`) and its number as `trial`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Import and set up the real trainable; an error becomes the first trial's failure."""
        self._real: Any = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial with the loaded backbone and data."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Advance to the next report."""
        if self._fault is not None:
            return self._fault
        result: dict[str, Any] = self._real.step()
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Save nothing for Ray: the trainable writes its own checkpoints."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""

    def cleanup(self) -> None:
        """Let the real trainable clean up."""
        if self._real is not None:
            self._real.cleanup()

    def _begin(self, config: dict[str, Any]) -> None:
        self._fault: dict[str, Any] | None = None
        job: TrainableJob = config["job"]
        try:
            config = config | {"job": with_local_data(job)}
            if self._real is None:
                self._real = new_trainable(job.trainable)
                self._real.setup(config)
            else:
                self._real.reset_config(config)
        except Exception as error:
            with suppress(Exception):  # the previous trial may have weights to save
                self.cleanup()
            self._real = None
            failure = {"outcome": "failed"} | _reason(error)
            self._fault = {"trial": job.trial, "failure": failure, "done": True}


def _reason(error: Exception) -> dict[str, Any]:
    """The failure as a dictionary; `unfit` if the node is the cause, so that every trial there fails."""
    if isinstance(error, UnfitNodeError):
        return {"reason": str(error), "unfit": True}
    return {"reason": f"{type(error).__name__}: {error}"}
