"""The command `stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import StorageError
from tuning.cli.completion import complete_trial_number
from tuning.cli.options import NAME_OR_TRIAL_HELP, Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from tuning.ledger.storage import Reference


def run_stop(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[:TRIAL]", help=NAME_OR_TRIAL_HELP, autocompletion=complete_trial_number),
    ],
    storage: Storage = None,
) -> None:
    """Stop a running experiment or one of its trials; everything recorded is kept.

    The driver stops within seconds. Running trials save their state, so that `adaptertune resume` can
    continue the experiment.
    """
    from tuning.ledger.storage import parse_reference, storage_folder

    print_answer(request_stop(parse_reference(name, storage_folder(storage))))


def request_stop(reference: Reference) -> str:
    """Leave a request for the driver, which polls for it; returns the message for the user.

    Raises StorageError if nothing is running that could be stopped.
    """
    from trainables.run_folder import CONTROL
    from tuning.ledger.driver_state import DriverState, driver_state
    from tuning.ledger.ledger import read_history
    from tuning.ledger.outcomes import AT_REST
    from tuning.ledger.storage import BEST, shell_name

    name, trial = reference.name, reference.trial
    if trial == BEST:
        raise StorageError("stop takes the number of a trial, not best")
    state = driver_state(reference.folder)
    if state in (DriverState.DIED, DriverState.ENDED):
        raise StorageError(f"{name} is not running; there is nothing to stop")
    if trial is None:
        request = "stop"
    else:
        known = read_history(reference.folder).trials.get(int(trial))
        if known is None:
            raise StorageError(
                f"{name} has no trial {trial} yet; see `adaptertune status {shell_name(reference.folder)}`"
            )
        if known.ended is not None and known.outcome not in AT_REST:
            raise StorageError(f"trial {trial} of {name} has ended already ({known.outcome})")
        request = f"stop-{trial}"
    folder = reference.folder / CONTROL
    try:
        folder.mkdir(exist_ok=True)
        (folder / request).touch()
    except OSError as error:
        runs = "is running" if state is DriverState.RUNNING else "may be running (unknown from here)"
        raise StorageError(
            f"the request cannot be written to {folder}: {error.strerror or error}; {name} {runs}, and"
            " somebody who can write there can stop it"
        ) from error
    what = name if trial is None else f"trial {trial} of {name}"
    return f"asked {what} to stop; it stops within seconds, and everything that it has recorded is kept"
