"""Starts the sweep of a new experiment; `tuning.run.driver` runs it to its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tuning.checkpoints.store_folder_claim import release_store_folder
from tuning.experiment.spec import Experiment
from tuning.ledger.attempts import FIRST
from tuning.ledger.environment import describe_environment
from tuning.ledger.history import History
from tuning.ledger.ledger import DRIVER_LOG, Ledger
from tuning.ledger.recorder import Listener, Recorder
from tuning.ledger.records import ExperimentRecord
from tuning.ledger.storage import refuse_existing
from tuning.run.composition import Composition
from tuning.run.driver import LaunchResult, drive_sweep
from tuning.run.prepared_data import Prepare
from tuning.run.scoring import Scorer
from tuning.run.signals import halted_by_signals
from tuning.search.warm_start import read_earlier_trials, record_earlier_trials


def launch_experiment(
    experiment: Experiment,
    storage: Path,
    *,
    trials: int | None = None,
    address: str | None = None,
    trainable: type[Any] | None = None,
    prepare: Prepare | None = None,
    scorer: Scorer | None = None,
    on_event: Listener | None = None,
) -> LaunchResult:
    """Run a new experiment to its end, or until Ctrl-C or `stop`, which end it as `interrupted`.

    trials: replaces the experiment's number of trials.  address: that of an existing Ray cluster.
    trainable: a Ray trainable that replaces the default one; it gets a `TrialJob` after the other, or a
    `PackJob` if it has a true `takes_packs`.  prepare: returns the folder of prepared
    data that trainables get.  scorer: replaces the default one after the search.  on_event: called with
    each record as soon as it is written.

    Raises StorageError if the name is taken or the disk is full, what preparation raises, for
    `search.from` what `read_earlier_trials` raises, and for `search.optuna` what `check_sampler` raises.
    """
    experiment.require_space()
    if trials is not None:
        search = experiment.search.model_copy(update={"trials": trials})
        experiment = experiment.model_copy(update={"search": search})
    folder = (storage / experiment.name).absolute()
    refuse_existing(folder, experiment.name)
    if experiment.search.optuna is not None:
        from tuning.search.sampler_check import check_sampler  # optuna

        check_sampler(experiment)
    earlier = read_earlier_trials(experiment, storage)
    header = ExperimentRecord(
        name=experiment.name,
        file=experiment.source_text,
        experiment=experiment.model_dump(mode="json", exclude={"source_text"}),
        environment=describe_environment(),
        attempt=FIRST,
    )
    # From the first line of the record on, a signal is an event that it tells of, or leaves none.
    with halted_by_signals() as signals, Ledger.create(folder, header, durable=experiment.durable) as ledger:
        recorder = Recorder(ledger, History(header), on_event)
        composition = Composition(experiment, folder, recorder, trainable, scorer)
        with _name_left_free(folder, recorder, experiment):
            record_earlier_trials(earlier, recorder)
            return drive_sweep(composition, signals, prepare=prepare, address=address)


@contextmanager
def _name_left_free(folder: Path, recorder: Recorder, experiment: Experiment) -> Iterator[None]:
    """Empty the folder if an error or interrupt comes before the first trial, so that its name is free again.

    Also after an error in adaptertune, whose traceback is stored elsewhere. The log of a launch in the
    background stays.
    """

    def leave() -> None:
        if not recorder.history.trials and not recorder.superseded():  # then it is another driver's folder
            _clear(folder)
            release_store_folder(experiment, recorder.history.header)

    try:
        yield
    except (Exception, KeyboardInterrupt):
        leave()
        raise
    leave()  # if it was interrupted


def _clear(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != DRIVER_LOG:
                path.unlink()
        folder.rmdir()  # if there is no log
