"""Converts proposals of the study to the jobs of workers."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.specs.job import TrialJob
from trainables.specs.pack import PackedTrial, PackJob
from trainables.start_number import start_file, write_start
from tuning.checkpoints.parents import parent_file
from tuning.experiment.sections.rungs import rungs_from
from tuning.experiment.spec import Experiment
from tuning.ledger.history import settings_with
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.run.composition import Composition
from tuning.run.packs.decided import packing_in

if TYPE_CHECKING:
    from tuning.search.proposal import Proposal

TRAINABLE = "trainables.workers.ray_trainable:AdapterTrainable"
PACKED = "trainables.workers.packed_trainable:PackedTrainable"


def rests_at(experiment: Experiment) -> tuple[float, ...]:
    """The epochs at which trials may begin to rest, so that their state is saved there."""
    asha, pbt = experiment.scheduler.asha, experiment.scheduler.pbt
    if pbt is not None:
        return tuple(map(float, range(pbt.interval_epochs, ceil(experiment.max_epochs), pbt.interval_epochs)))
    if asha is None or not asha.rest or asha.grace_epochs >= experiment.max_epochs:
        return ()
    return rungs_from(asha.grace_epochs, asha.reduction_factor, experiment.max_epochs)


@dataclass(frozen=True)
class Configure:
    """Converts a proposal to the configuration of Ray's trial."""

    of: Composition
    prepared: Path

    def __call__(self, proposal: Proposal) -> dict[str, Any]:
        """The configuration of the trial, with its job."""
        experiment, folder, number = self.of.experiment, self.of.folder, proposal.number
        root = checkpoint_root(experiment, folder)
        start, starts = self.of.recorder.trial(number).starts, start_file(root, number)
        write_start(starts, start)
        return TrialJob(
            trial=number,
            start=start,
            starts=str(starts),
            config=experiment.trial_config(settings_with(proposal.params, proposal.parent)),
            experiment=folder,
            folder=trial_folder(folder, number),
            checkpoints=str(trial_folder(root, number)),
            parent=parent_file(root, proposal.parent),
            workload=experiment.workload,
            prepared=self.prepared,
            threads=experiment.resources.threads,
            save_every_s=experiment.checkpoints.every_s,
            save_every_epochs=experiment.checkpoints.every_epochs,
            save_at_epochs=rests_at(experiment),
            durable=experiment.durable,
            trainable=TRAINABLE,
        ).for_ray()


@dataclass(frozen=True)
class ConfigurePacks:
    """Makes the jobs of packs, and converts proposals to their trials.  lanes: see `PackJob`."""

    of: Composition
    prepared: Path
    lanes: int | None

    def pack(self, number: int, orders: Path) -> dict[str, Any]:
        """The configuration of a pack, as Ray's trial. orders: the file that says what it trains."""
        experiment = self.of.experiment
        return PackJob(
            trial=number,
            experiment=self.of.folder,
            workload=experiment.workload,
            prepared=self.prepared,
            threads=experiment.resources.threads,
            orders=orders,
            lanes=self.lanes,
            decided=tuple(map(packing_in, self.of.recorder.history.packing.values())),
            save_every_s=experiment.checkpoints.every_s,
            save_every_epochs=experiment.checkpoints.every_epochs,
            save_at_epochs=rests_at(experiment),
            durable=experiment.durable,
            trainable=PACKED,
        ).for_ray()

    def trial(self, proposal: Proposal, joined: int | None) -> PackedTrial:
        """The trial of a proposal. Raises AdaptertuneError if it cannot be tried. joined: as in its order."""
        experiment, folder, number = self.of.experiment, self.of.folder, proposal.number
        root = checkpoint_root(experiment, folder)
        start, starts = self.of.recorder.trial(number).starts, start_file(root, number)
        write_start(starts, start)
        return PackedTrial(
            trial=number,
            start=start,
            starts=str(starts),
            config=experiment.trial_config(settings_with(proposal.params, proposal.parent)),
            folder=trial_folder(folder, number),
            checkpoints=str(trial_folder(root, number)),
            parent=parent_file(root, proposal.parent),
            joined=joined,
        )
