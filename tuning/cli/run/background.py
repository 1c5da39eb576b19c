"""Runs `launch` in the background, or under a process that resumes it whenever it dies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import typer

from tuning.cli.console import console, print_lines
from tuning.experiment.spec import Experiment
from tuning.ledger.storage import refuse_existing, shell_name
from tuning.messages import say
from tuning.run.background.detach import NotStartedError, command_line, detach
from tuning.run.background.supervise import supervise


def start_in_background(experiment: Experiment, storage: Path, arguments: Sequence[str]) -> None:
    """Start `adaptertune ARGUMENTS` in the background, and print how to watch and stop it."""
    folder = _new_folder(experiment, storage)
    try:
        started = detach(arguments, folder)
    except NotStartedError as error:
        say(str(error))
        raise typer.Exit(error.code) from error
    name = shell_name(folder)
    state = "runs" if started.prepared else "prepares its data"
    print_lines(
        console(),
        f"{experiment.name} {state} in the background as process {started.process}",
        f"  output  {started.log}",
        f"  watch   adaptertune status {name} --watch",
        f"  stop    adaptertune stop {name}",
        f"  best    adaptertune best {name}",
    )


def run_supervised(
    experiment: Experiment, storage: Path, arguments: Sequence[str], options: Sequence[str]
) -> NoReturn:
    """Run `adaptertune ARGUMENTS`, and `adaptertune resume` with `options` each time the driver dies.

    Exits with the driver's code.
    """
    folder = _new_folder(experiment, storage)
    resume = ["resume", str(folder), *options]
    raise typer.Exit(supervise(command_line(arguments), command_line(resume), folder, tell=say))


def _new_folder(experiment: Experiment, storage: Path) -> Path:
    """The folder of a new experiment. Raises StorageError if it holds one."""
    folder = (storage / experiment.name).absolute()
    refuse_existing(folder, experiment.name)
    return folder
