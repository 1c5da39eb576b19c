"""The Ray trainable: a reused actor keeps backbone and data, and runs one trial after the other.

If a trial cannot be built, diverges or raises, its result has the reason, and the
actor continues with the next trial; only a killed process is reported by Ray.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch

from trainables.errors import reason_of
from trainables.specs.job import TrialJob, TrialResult
from trainables.workers.loaded_engine import LoadedEngine
from trainables.workers.running_trial import RunningTrial


class AdapterTrainable:
    """One trial at a time, with a report per step. The configuration has a `TrialJob` as `job`."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load backbone and data, then start the first trial."""
        job: TrialJob = config["job"]
        torch.set_num_threads(job.threads)
        self.engines = LoadedEngine()
        self.running = RunningTrial(job, lambda: self.engines.of(job))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial; Ray calls this on an actor after its trial has ended."""
        job: TrialJob = new_config["job"]
        self.running.leave()
        self.running = RunningTrial(job, lambda: self.engines.of(job))
        return True

    def cleanup(self) -> None:
        """Finish the actor's last trial."""
        self.running.leave()

    def step(self) -> dict[str, Any]:
        """Advance to the next report."""
        try:
            return self._next_result().for_ray()
        except Exception as error:
            return self.running.failed(reason_of(error), traceback.format_exc()).for_ray()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Save nothing for Ray: our checkpoints are in the experiment's folder."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""

    def _next_result(self) -> TrialResult:
        running = self.running
        if (due := running.due()) is not None:
            return due
        assert running.state is not None
        engine = self.engines.of(running.job)
        while True:
            with running.machine.busy():
                report = next((report for _, report in engine.advance([running.state], steps=1)), None)
            if report is not None:
                return running.reported(report)
            if (gone := running.between_steps()) is not None:
                return gone
