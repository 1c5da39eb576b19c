"""The command `extend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.completion import complete_trial
from tuning.cli.options import Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tuning.ledger.history import History


def run_extend(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="NAME:TRIAL",
            help="A trial by number, or NAME:best[:METRIC].",
            autocompletion=complete_trial,
        ),
    ],
    epochs: Annotated[int, typer.Option(help="The new total, with those that the trial has run.", min=1)],
    storage: Storage = None,
) -> None:
    """Continue a trial that has ended for more epochs, as one more trial.

    It goes on from the trial's last saved state, with its configuration; no stopping rule ends it. The
    schedule of the learning rate is that of the new total from there on. The trial itself keeps its result.

    Examples:

        adaptertune extend nuclei:7 --epochs 20
    """
    from tuning.cli.run.named_trial import named_trial

    folder, number, history = named_trial(trial, storage, "extend")
    print_answer(request_extension(folder, number, epochs, history))


def request_extension(folder: Path, number: int, epochs: int, history: History) -> str:
    """Leave a request for the driver; returns the message for the user. epochs: the new total.

    Raises StorageError for a trial that cannot be continued, or if the request cannot be written.
    """
    from tuning.checkpoints.parents import check_extension
    from tuning.ledger.driver_state import driver_alive
    from tuning.ledger.header import experiment_of
    from tuning.ledger.requests import ExtendRequest, leave_request
    from tuning.ledger.storage import shell_name

    check_extension(experiment_of(history.header), folder, history, number, epochs)
    leave_request(folder, ExtendRequest(trial=number, epochs=epochs))
    name = shell_name(folder)
    if driver_alive(folder):
        return (
            f"asked {history.name} to continue trial {number} to epoch {epochs}, as one more trial;"
            f" `adaptertune status {name}` shows it within seconds"
        )
    return (
        f"{history.name} is at rest: `adaptertune resume {name}` continues trial {number} to epoch {epochs}"
    )
