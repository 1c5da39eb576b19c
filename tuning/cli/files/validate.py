"""The command `validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trainables.errors import ExperimentFileError
from tuning.cli.options import File, Sets

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment


def run_validate(file: File, set_: Sets = None) -> None:
    """Check an experiment file and report all errors at once.

    Each error names the file, the line, the key, and what is allowed. A valid file is summarized on one line.
    Files, folders and class names that the file names are checked, too, but images are not read.
    """
    from tuning.cli.board import trials_asked
    from tuning.experiment.load import load_experiment

    experiment = load_experiment(file, set_ or [])
    _check_surroundings(experiment, file)
    size, trials = experiment.space.size(), trials_asked(experiment)
    search = (
        f"{len(experiment.space.names)} parameters"
        f" ({'infinitely many' if size is None else f'{size:,}'} configurations),"
        f" {'an unlimited number of' if trials is None else trials} trials"
        if experiment.space
        else "one configuration"
    )
    typer.echo(
        f"{file}: valid. {experiment.task} with {experiment.model.name}, {search}"
        f" of at most {experiment.max_epochs} epochs"
    )


def _check_surroundings(experiment: Experiment, file: str) -> None:
    """What costs little to find out about data and model. Raises ExperimentFileError with all errors."""
    from trainables.data.quick_check import quick_classes, quick_faults
    from tuning.experiment.checks.objective import class_error

    workload = experiment.workload
    faults = quick_faults(workload)
    metric = workload.objective.metric
    if not faults and (error := class_error(metric, quick_classes(workload))) is not None:
        faults = [("objective.metric", error)]
    if faults:
        lines = [f"  {key}  {reason}" for key, reason in faults]
        count = "1 error" if len(faults) == 1 else f"{len(faults)} errors"
        raise ExperimentFileError("\n".join([f"{file}: {count}", *lines]))
