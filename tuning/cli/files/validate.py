"""The command `validate`."""

from __future__ import annotations

import typer

from trainables.wording import plural
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
        f"{plural(len(experiment.space.names), 'parameter')}"
        f" ({'infinitely many configurations' if size is None else plural(size, 'configuration')}),"
        f" {'an unlimited number of trials' if trials is None else plural(trials, 'trial')}"
        if experiment.space
        else "one configuration"
    )
    typer.echo(
        f"{file}: valid. {experiment.task} with {experiment.model.name}, {search}"
        f" of at most {plural(experiment.max_epochs, 'epoch')}"
    )
