"""Configures Ray Tune to run the trials, and to do nothing else: the ledger and the workers do the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.run.composition import Composition
from tuning.run.room.worker_needs import bundle_of
from tuning.run.sent_code import trainable_of

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

UNLIMITED = 100_000
"""More trials at once than any cluster has room for."""


def build_tuner(
    of: Composition, searcher: Searcher, scheduler: TrialScheduler, *, scratch: Path
) -> tune.Tuner:
    """Build the tuner of a sweep.

    Each trial's configuration has what its worker reserves, see `tuning.run.room.worker_needs`.
    scratch: the folder for Ray's files of the sweep, which nobody needs later.
    """
    from ray import tune
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig

    from tuning.run.ray_memory import NothingShown

    return tune.Tuner(
        tune.with_resources(trainable_of(of.trainable), bundle_of),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=UNLIMITED,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=RunConfig(
            name=of.experiment.name,
            storage_path=str(scratch),
            # The trainable writes its own checkpoints; Ray would fetch one at the end of each trial.
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=0),  # the study restarts trials
            verbose=0,
            callbacks=[NothingShown()],
            # Silent, too. In a notebook Ray's default would clear the cell's output, with our table.
            progress_reporter=tune.CLIReporter(),
        ),
    )


def _name(trial: Any) -> str:
    return f"{trial.config['trial']:04d}"
