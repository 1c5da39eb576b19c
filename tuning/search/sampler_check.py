"""Checks a sampler that a file names by its class, before anything runs."""

from __future__ import annotations

import optuna

from trainables.errors import ExperimentFileError
from tuning.experiment.file_errors import FileError, Location, dotted_key, file_error
from tuning.experiment.goals import Goals
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import read_yaml
from tuning.search.rehearsal import first_difference
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.optuna_named import RefusedSamplerError, build_named
from tuning.search.told import Told

_AT = ("search", "optuna")


def check_sampler(experiment: Experiment, file: str | None = None) -> None:
    """Build the sampler of `search.optuna`, and rehearse the search: does a resumed one propose the same?

    Raises ExperimentFileError. file: the name for messages; by default the experiment's.
    """
    spec = experiment.search.optuna
    if spec is None or not experiment.space:
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    goals = Goals.of(experiment)
    study = optuna.create_study(directions=Told(goals).directions)
    try:
        build_named(spec, Draw(0, study, experiment.space, 0))
    except RefusedSamplerError as error:
        raise _error(experiment, file, error.key, error.rule) from error
    if not spec.replayable:
        return
    try:
        number = first_difference(experiment.space, experiment.search, goals)
    except Exception as error:  # whatever a sampler raises that does not take this space
        raise _error(
            experiment, file, "sampler", f"{spec.sampler} fails in a rehearsal of this search: {error!r}"
        ) from error
    if number is not None:
        raise _error(
            experiment,
            file,
            "sampler",
            f"{spec.sampler} is not a function of what is recorded: in a rehearsal, a resumed search proposed"
            f" another trial {number}; take another sampler, or set search.optuna.replayable: false",
        )


def _error(experiment: Experiment, file: str | None, key: str, rule: str) -> ExperimentFileError:
    path = (*_AT, *key.split("."))
    where = read_yaml(experiment.source_text).where
    known = next((where[path[:end]] for end in range(len(path), 1, -1) if path[:end] in where), None)
    at: Location = "--set" if known is None else known
    return file_error(file or experiment.name, [FileError(at, dotted_key(path), rule)])
