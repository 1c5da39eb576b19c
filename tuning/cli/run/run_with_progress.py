"""Runs or resumes a sweep in this process while its progress is shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import AdaptertuneError
from tuning.cli.board import Board
from tuning.cli.console import LastingConsole, console
from tuning.cli.progress import Progress
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import read_header
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

if TYPE_CHECKING:
    from tuning.run.driver import LaunchResult


def run_sweep(experiment: Experiment, storage: Path, address: str | None) -> LaunchResult:
    """Run a new sweep, with a live table, or lines without a terminal."""
    with Progress(Board(experiment), console(LastingConsole)) as progress:
        return launch_experiment(experiment, storage, address=address, on_event=progress)


def resume_sweep(
    folder: Path,
    *,
    trials: int | None,
    retry_failed: bool,
    address: str | None,
    epochs: int | None = None,
    take_over: bool = False,
    move_data: Mapping[str, str] | None = None,
) -> LaunchResult:
    """Continue the sweep in `folder` from where its ledger ends, with the same live table."""
    board = Board(experiment_of(read_header(folder)))
    with Progress(board, console(LastingConsole)) as progress:
        return resume_experiment(
            folder,
            trials=trials,
            epochs=epochs,
            retry_failed=retry_failed,
            take_over=take_over,
            move_data=move_data,
            address=address,
            on_past=board.observe,
            on_event=progress,
        )


def require_parameter(name: str | None, experiment: Experiment) -> None:
    """Raise AdaptertuneError for a `--then-ablate` by a parameter that is not searched."""
    if name is not None and name not in experiment.space.names:
        searched = ", ".join(experiment.space.names)
        raise AdaptertuneError(f"--then-ablate {name}: the space has no such parameter; it has {searched}")
