"""The command `unpause`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.cli.options import Storage
from tuning.cli.run.pause import NameOrTrial
from tuning.messages import print_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tuning.ledger.history import History


def run_unpause(name: NameOrTrial, storage: Storage = None) -> None:
    """Let a paused experiment, or a paused trial, continue from where it was.

    Examples:

        adaptertune unpause nuclei:7
    """
    from tuning.cli.run.named_trial import sweep_and_trial

    folder, trial, history = sweep_and_trial(name, storage, "unpause")
    print_answer(request_unpause(folder, trial, history))


def request_unpause(folder: Path, trial: int | None, history: History) -> str:
    """Leave a request for the driver; returns the message for the user. trial: None for the whole sweep.

    Raises StorageError if it is not paused, or the request cannot be written.
    """
    from tuning.ledger.driver_state import driver_alive
    from tuning.ledger.requests import UnpauseRequest, leave_request, waiting_requests
    from tuning.ledger.steering import check_unpause, paused_after
    from tuning.ledger.storage import shell_name

    check_unpause(history, trial, paused_after(history, waiting_requests(folder)))
    leave_request(folder, UnpauseRequest(trial=trial))
    what = history.name if trial is None else f"trial {trial} of {history.name}"
    if driver_alive(folder):
        return f"asked {what} to continue; it does as soon as a worker is free"
    return f"{history.name} is at rest: `adaptertune resume {shell_name(folder)}` continues it"
