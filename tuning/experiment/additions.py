"""Configurations that a user adds to a sweep that was launched: made from `--set`, and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trainables.errors import ExperimentFileError
from trainables.wording import plural
from tuning.experiment.file_errors import suggestion
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import read_yaml


def addition_of(
    experiment: Experiment, given: Sequence[str], base: Mapping[str, JsonValue] | None = None
) -> dict[str, JsonValue]:
    """The configuration that `given` describes, in the space's notation.

    given: each `key=value`, with the value in YAML.  base: the configuration that `given` changes; what no
    longer applies then is left out.

    Raises ExperimentFileError, with all errors, for one that the space does not hold.
    """
    own, errors = dict[str, JsonValue](), list[str]()
    for text in given:
        key, equals, written = text.partition("=")
        key = key.strip()
        value = read_yaml(written)
        if not equals or not key:
            errors.append(f"--set {text}: must be key=value, such as learning_rate=1e-3")
        elif value.errors:
            errors += [f"--set {key}: {error.rule}, got '{written}'" for error in value.errors]
        elif key not in experiment.space.root:
            errors.append(f"{key}: {_not_searched(experiment, key)}")
        else:
            own[key] = value.value
    if errors:
        raise ExperimentFileError(_told(experiment, errors))
    params = dict(base or {}) | own
    idle = _idle(experiment, params) - own.keys()
    return check_addition(experiment, {name: v for name, v in params.items() if name not in idle})


def check_addition(experiment: Experiment, params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`params` in the space's notation. Raises ExperimentFileError if they are no whole configuration."""
    values, wrong = experiment.space.locate(params)
    unknown = {name: _not_searched(experiment, name) for name in params if name not in experiment.space.root}
    if wrong or unknown:
        raise ExperimentFileError(
            _told(experiment, [f"{name}: {rule}" for name, rule in {**unknown, **wrong}.items()])
        )
    experiment.trial_config(values)
    return dict(values)


def _idle(experiment: Experiment, params: Mapping[str, JsonValue]) -> set[str]:
    """What does not apply beside the other values, nor what depends on it."""
    values: dict[str, JsonValue] = {}
    for name in experiment.space.order:
        if name in params and experiment.space.active(name, values) is not None:
            values[name] = params[name]
    return params.keys() - values.keys()


def _not_searched(experiment: Experiment, name: str) -> str:
    fixed = experiment.settings({})
    place: JsonValue = fixed
    for part in name.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    hint = f", which has {json.dumps(place)} for all trials" if place is not None else ""
    return (
        f"is no parameter of the space of {experiment.name}{hint}{suggestion(name, experiment.space.names)}"
    )


def _told(experiment: Experiment, errors: Sequence[str]) -> str:
    if len(errors) == 1:
        return errors[0]
    counted = f"{plural(len(errors), 'error')} in the configuration for {experiment.name}"
    return "\n".join([counted, *(f"  {error}" for error in errors)])
