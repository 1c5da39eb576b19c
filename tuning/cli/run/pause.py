"""The command `pause`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.completion import complete_trial_number
from tuning.cli.options import NAME_OR_TRIAL_HELP, Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tuning.ledger.history import History

NameOrTrial = Annotated[
    str,
    typer.Argument(metavar="NAME[:TRIAL]", help=NAME_OR_TRIAL_HELP, autocompletion=complete_trial_number),
]


def run_pause(name: NameOrTrial, storage: Storage = None) -> None:
    """Let a running experiment, or one of its trials, wait without workers until `unpause`.

    Trials save their state and give up their workers within seconds, in the middle of an epoch. The driver
    stays; to end it, too, use `stop`, then `resume`.

    Examples:

        adaptertune pause nuclei

        adaptertune pause nuclei:7
    """
    from tuning.cli.run.named_trial import sweep_and_trial

    folder, trial, history = sweep_and_trial(name, storage, "pause")
    print_answer(request_pause(folder, trial, history))


def request_pause(folder: Path, trial: int | None, history: History) -> str:
    """Leave a request for the driver; returns the message for the user. trial: None for the whole sweep.

    Raises StorageError if there is nothing to pause, or the request cannot be written.
    """
    from tuning.ledger.driver_state import driver_alive
    from tuning.ledger.requests import PauseRequest, leave_request, waiting_requests
    from tuning.ledger.steering import check_pause, paused_after
    from tuning.ledger.storage import shell_name

    check_pause(history, trial, paused_after(history, waiting_requests(folder)))
    leave_request(folder, PauseRequest(trial=trial))
    name = shell_name(folder)
    again = f"adaptertune unpause {name}" + ("" if trial is None else f":{trial}")
    what = history.name if trial is None else f"trial {trial} of {history.name}"
    if driver_alive(folder):
        return f"asked {what} to pause; it gives up its workers within seconds, until `{again}`"
    return f"{history.name} is at rest; when it is resumed, {what} waits until `{again}`"
