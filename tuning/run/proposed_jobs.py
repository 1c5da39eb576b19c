"""Converts proposals of the study to the jobs of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.specs.job import TrialJob
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.run.composition import Composition

if TYPE_CHECKING:
    from tuning.search.study import Proposal

TRAINABLE = "trainables.workers.ray_trainable:AdapterTrainable"


@dataclass(frozen=True)
class Configure:
    """Converts a proposal to the configuration of Ray's trial."""

    of: Composition
    prepared: Path

    def __call__(self, proposal: Proposal) -> dict[str, Any]:
        """The configuration of the trial, with its job."""
        experiment, folder, number = self.of.experiment, self.of.folder, proposal.number
        return TrialJob(
            trial=number,
            config=experiment.trial_config(proposal.params),
            experiment=folder,
            folder=trial_folder(folder, number),
            checkpoints=str(trial_folder(checkpoint_root(experiment, folder), number)),
            workload=experiment.workload,
            prepared=self.prepared,
            threads=experiment.resources.threads,
            save_every_s=experiment.checkpoints.every_s,
            save_every_epochs=experiment.checkpoints.every_epochs,
            trainable=TRAINABLE,
        ).for_ray()
