"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import AdaptertuneError, ExperimentFileError
from trainables.wording import plural
from tuning.cli.completion import complete_file, complete_trial
from tuning.cli.options import Sets, Storage

if TYPE_CHECKING:
    from pydantic import JsonValue

    from trainables.specs.stage import Stage
    from trainables.specs.trial import TrialConfig
    from tuning.experiment.spec import Experiment


def run_train(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="An experiment file without a `space`.", autocompletion=complete_file
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME:TRIAL",
            help="A recorded trial: its number, best, or best:METRIC.",
            autocompletion=complete_trial,
        ),
    ] = None,
    set_: Sets = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder for weights and reports, created if absent."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Train one configuration on this machine, without Ray.

    Examples:

        adaptertune train vit_base_pets_lora
        adaptertune train --from nuclei:best
    \f
    Without `--into`, the folder is a new one under `trained/` of `--storage`. After an error before the first
    report it is gone again, else it holds:

    - `best.ckpt`, `last.ckpt`: the weights of the best report; the whole state of the last report
    - `experiment.yaml`: the run as an experiment file, with absolute paths: `adaptertune train
      FOLDER/experiment.yaml` repeats it
    - `reports.jsonl`: one line for each report: epoch, step, metrics, cost
    - `data.json`: what was prepared: counts of images, boxes and crowds, classes, warnings, and all errors
    - `splits.json`: the images of the training, validation and test splits, by name
    - `environment.json`: versions, Python, platform, devices, git revision
    - `definitions.json`: the definition of each metric, and its floors (docs/reference/metrics.md)

    A trial that began with the weights or the state of others (`clone --warm`, `extend`, `scheduler.pbt`) is
    trained with them, one after the other; `stages.json` in the folder says so.

    A trial of a sweep, and the file in the folder of a run, are trained again under the definitions that the
    sweep or the run began with.
    """
    from tuning.experiment.load import load_experiment
    from tuning.experiment.write import experiment_yaml
    from tuning.ledger.storage import storage_folder

    storage = storage_folder(storage)
    params: dict[str, JsonValue] = {}
    stages: tuple[Stage, ...] = ()
    if file is not None and from_ is None:
        experiment, stages = repeated(load_experiment(file, set_ or []), Path(file))
        config = sole_config(experiment)
    elif from_ is not None and file is None and not set_:
        experiment, params, stages = _recorded_trial(from_, storage)
        config = experiment.trial_config(params)
    else:
        raise AdaptertuneError(
            "train takes FILE, with --set if needed, or --from NAME:TRIAL;"
            " to change a recorded trial, write its file with `adaptertune best NAME --format yaml`"
        )
    from tuning.cli.run.run_folder_of_train import run_folder

    with run_folder(into, storage, experiment.name) as folder:
        from tuning.cli.run.solo_training import train_configuration  # torch

        train_configuration(experiment, config, folder, experiment_yaml(experiment, params), stages)


def _recorded_trial(text: str, storage: Path) -> tuple[Experiment, dict[str, JsonValue], tuple[Stage, ...]]:
    """The experiment and the settings of NAME:best or NAME:3, and what is trained before it."""
    from tuning.checkpoints.run_stages import stages_of
    from tuning.cli.run.named_trial import named_trial
    from tuning.ledger.header import experiment_of
    from tuning.ledger.steering import known_trial

    _, number, history = named_trial(text, storage, "train --from")
    experiment, trial = experiment_of(history.header), known_trial(history, number)
    return experiment, dict(trial.settings), stages_of(experiment, history, number)


def repeated(experiment: Experiment, file: Path) -> tuple[Experiment, tuple[Stage, ...]]:
    """The experiment under the definitions of the run that `file` repeats, if it lies in a run's folder.

    And what that run trained first.
    """
    from tuning.checkpoints.run_definitions import run_definitions
    from tuning.checkpoints.run_stages import run_stages
    from tuning.checkpoints.trained_adapter import EXPERIMENT, REPORTS

    if file.name != EXPERIMENT or not (file.parent / REPORTS).is_file():
        return experiment, ()
    known = run_definitions(file.parent).definitions
    return experiment.model_copy(update={"definitions": known}), run_stages(file.parent)


def sole_config(experiment: Experiment) -> TrialConfig:
    """The configuration of a file that searches nothing. Raises ExperimentFileError if it has a space."""
    if experiment.space:
        raise ExperimentFileError(
            f"{experiment.name} has a `space` of {plural(len(experiment.space.names), 'parameter')}, and"
            " train runs one"
            " configuration: use `adaptertune launch`, or take one with"
            " `adaptertune best NAME --format yaml > FILE` or `adaptertune train --from NAME:best`"
        )
    return experiment.trial_config({})
