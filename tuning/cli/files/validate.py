"""The command `validate`."""

from __future__ import annotations

import typer

from tuning.cli.options import File, Sets


def run_validate(file: File, set_: Sets = None) -> None:
    """Check an experiment file and report all errors at once.

    Each error names the file, the line, the key, and what is allowed. A valid file is summarized on one line.
    """
    from tuning.cli.board import trials_asked
    from tuning.experiment.load import load_experiment

    experiment = load_experiment(file, set_ or [])
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
