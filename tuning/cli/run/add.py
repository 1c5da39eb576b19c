"""The command `add`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Name, Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import JsonValue

Parameters = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="The value of a parameter of the space; may be repeated."
    ),
]


def run_add(name: Name, given: Parameters, storage: Storage = None) -> None:
    """Add a configuration of your own to an experiment, as one more trial.

    It is recorded, and tried before any other new one; the search learns from its result. A sweep that runs
    takes it up within seconds, from any machine that sees the folder; one at rest when it is resumed.

    Examples:

        adaptertune add nuclei --set adapter=lora --set lora.rank=8 --set learning_rate=3e-4
    """
    from tuning.ledger.ledger import read_history
    from tuning.ledger.storage import find_experiment, storage_folder

    folder = find_experiment(name, storage_folder(storage)).absolute()
    read_history(folder)
    print_answer(request_addition(folder, given))


def request_addition(
    folder: Path,
    given: list[str],
    *,
    base: Mapping[str, JsonValue] | None = None,
    of: int | None = None,
    warm: bool = False,
) -> str:
    """Leave a request for the driver; returns the message for the user.

    base: the configuration that `given` changes, of trial `of`.  warm: it begins with that trial's weights.

    Raises ExperimentFileError for a configuration that the space does not hold, StorageError if it is there
    already, cannot begin with these weights, or cannot be written.
    """
    from trainables.errors import StorageError
    from tuning.checkpoints.parents import check_warm
    from tuning.experiment.additions import addition_of
    from tuning.experiment.space import config_hash
    from tuning.ledger.driver_state import driver_alive
    from tuning.ledger.header import experiment_of
    from tuning.ledger.ledger import read_history
    from tuning.ledger.requests import AddRequest, leave_request
    from tuning.ledger.storage import shell_name

    history = read_history(folder)
    experiment = experiment_of(history.header)
    params = addition_of(experiment, given, base)
    key, name = config_hash(params), shell_name(folder)
    if warm and of is not None:  # the same configuration from the start is another trial
        check_warm(experiment, folder, history, of, params)
    elif (tried := history.trial_of(key)) is not None:
        raise StorageError(f"trial {tried} of {history.name} has this configuration already")
    elif any(added.hash == key for added in history.added):
        raise StorageError(f"this configuration was added to {history.name} before, and waits for its turn")
    leave_request(folder, AddRequest(params=params, of=of, warm=warm))
    if driver_alive(folder):
        return f"asked {history.name} to try it next; `adaptertune status {name}` shows it within seconds"
    return f"{history.name} is at rest: `adaptertune resume {name}` tries it next"
