"""The sweep and the trial that NAME[:TRIAL] names, for the commands that steer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tuning.ledger.history import History


def sweep_and_trial(name: str, storage: Path | None, command: str) -> tuple[Path, int | None, History]:
    """The folder, the trial and the record that NAME[:TRIAL] names. Raises StorageError, also for `best`."""
    from trainables.errors import StorageError
    from tuning.ledger.ledger import read_history
    from tuning.ledger.storage import BEST, parse_reference, storage_folder

    reference = parse_reference(name, storage_folder(storage))
    if reference.trial == BEST:
        raise StorageError(f"{command} takes the number of a trial, not best")
    trial = None if reference.trial is None else int(reference.trial)
    return reference.folder, trial, read_history(reference.folder)


def named_trial(trial: str, storage: Path | None, command: str) -> tuple[Path, int, History]:
    """The folder, the number and the record of NAME:TRIAL or NAME:best[:METRIC].

    Raises StorageError for a sweep, and QueryError for a metric that it has not recorded.
    """
    from analysis.ranking.rank_by_sql import best_number
    from trainables.errors import StorageError
    from tuning.ledger.ledger import read_history
    from tuning.ledger.storage import BEST, parse_reference, storage_folder

    reference = parse_reference(trial, storage_folder(storage))
    if reference.trial is None:
        raise StorageError(f"{command} takes a trial: {trial}:7, or {trial}:best")
    if reference.trial == BEST:
        number = best_number(reference.folder, reference.metric)
    else:
        number = int(reference.trial)
    return reference.folder, number, read_history(reference.folder)
