"""What `adaptertune stop` does: leave a request that the driver looks for. No ray, no torch."""

from __future__ import annotations

from trainables.errors import StorageError
from trainables.run_folder import CONTROL
from tuning.ledger.ledger import driver_alive, read_history
from tuning.ledger.storage import BEST, Reference, shell_name


def request_stop(reference: Reference) -> str:
    """Asks the driver to end the experiment or one trial; returns what to tell the user.

    Raises StorageError where nothing runs that could be stopped.
    """
    name, trial = reference.name, reference.trial
    if trial == BEST:
        raise StorageError("stop takes a trial's number, not best")
    if not driver_alive(reference.folder):
        raise StorageError(f"{name} is not running; there is nothing to stop")
    if trial is None:
        request = "stop"
    else:
        known = read_history(reference.folder).trials.get(int(trial))
        if known is None:
            raise StorageError(
                f"{name} has no trial {trial} yet; see `adaptertune status {shell_name(reference.folder)}`"
            )
        if known.ended is not None:
            raise StorageError(f"trial {trial} of {name} has ended already ({known.outcome})")
        request = f"stop-{trial}"
    folder = reference.folder / CONTROL
    folder.mkdir(exist_ok=True)
    (folder / request).touch()
    what = name if trial is None else f"trial {trial} of {name}"
    return f"asked {what} to stop; it does so within seconds, and what it has recorded is kept"
