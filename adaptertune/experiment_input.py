"""An experiment from what a Python caller passes: a file, a shipped name, a dict or an `Experiment`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from adaptertune.plain_values import plain
from trainables.errors import AdaptertuneError, ExperimentFileError
from tuning.experiment.alternative import DOMAIN_KEYS
from tuning.experiment.file_errors import SET, FileError, dotted_key, file_error, suggestion
from tuning.experiment.load import load_experiment
from tuning.experiment.reader import Reader
from tuning.experiment.settings import find_setting
from tuning.experiment.spec import Experiment
from tuning.experiment.write import document_of
from tuning.experiment.yaml_lines import Document, dump_yaml

Given = Experiment | str | os.PathLike[str] | Mapping[str, Any]
"""What `launch` and `load` take: a value, a file or a shipped name, or the content of a file."""


class Overrides(TypedDict, total=False):
    """The keys of an experiment file that are arguments of `launch` and `load`.

    A mapping changes the keys in it and leaves the others as they are; any other value replaces.
    """

    name: str
    task: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    objective: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    constraints: Mapping[str, Any]
    trial: Mapping[str, Any]
    space: Mapping[str, Any]
    search: Mapping[str, Any]
    trials: int
    """Short for `search={"trials": …}`."""
    scheduler: Mapping[str, Any] | str
    resources: Mapping[str, Any]
    scoring: Mapping[str, Any]
    confirm: Mapping[str, Any]
    checkpoints: Mapping[str, Any]
    views: Mapping[str, Any]
    retries: int
    durability: str


def read_experiment(
    given: Given,
    overrides: Mapping[str, Any],
    replaced: Mapping[str, Any] | None,
    *,
    others: tuple[str, ...] = (),
) -> Experiment:
    """The experiment with its overrides, with the same checks as a file.

    replaced: values by dotted key; each replaces the whole value there.  others: arguments that are
    no keys of a file, for a hint if one is misspelt.  Raises ExperimentFileError with every error.
    """
    _require_known(overrides, others)
    if replaced is not None and not isinstance(replaced, Mapping):
        raise ExperimentFileError(
            f"set must be a mapping such as {{'trial.epochs': 5}}, got {type(replaced).__name__}"
        )
    changes = [change for key, value in overrides.items() for change in _leaves(_key(key), value)]
    changes += list((replaced or {}).items())
    match given:
        case Experiment():
            return _of_value(given, changes)
        case Mapping():
            return _of_dict(given, changes)
        case str() | os.PathLike():
            path = os.fspath(given)
            return _named_set(lambda: load_experiment(path, _texts(changes, path)))
        case _:
            raise ExperimentFileError(
                "an experiment is a file, the name of a shipped one, a dict or an adaptertune.Experiment,"
                f" got {type(given).__name__}"
            )


def _require_known(overrides: Mapping[str, Any], others: tuple[str, ...]) -> None:
    known = (*Overrides.__annotations__, *others)
    wrong = []
    for key in overrides:
        if key.split(".")[0] in Overrides.__annotations__:
            continue
        if find_setting(key) is not None:
            hint = f"; it is a setting of trials: write trial={{'{key}': …}}, or search it in space"
        else:
            hint = suggestion(key, known) or f"; known here: {', '.join(known)}"
        wrong.append(f"there is no argument '{key}'{hint}")
    if wrong:
        raise AdaptertuneError("\n".join(wrong))


def _key(name: str) -> str:
    return "search.trials" if name == "trials" else name


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a mapping changes, by dotted key. A domain of `space` is one value, as is an empty mapping."""
    domain = key.startswith("space.") and isinstance(value, Mapping) and any(k in DOMAIN_KEYS for k in value)
    if isinstance(value, Mapping) and value and not domain:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _texts(changes: list[tuple[Any, Any]], title: str) -> list[str]:
    """The changes as `--set` takes them."""
    texts, errors = [], []
    for key, value in changes:
        if not isinstance(key, str) or "=" in key:
            errors.append(FileError(SET, str(key), "must be a dotted key such as trial.epochs"))
            continue
        found, violations = plain(value)
        errors += [FileError(SET, dotted_key((key, *v.path)), v.rule) for v in violations]
        texts.append(f"{key}={json.dumps(found, ensure_ascii=False)}")
    if errors:
        raise file_error(title, errors)
    return texts


def _named_set(read: Callable[[], Experiment]) -> Experiment:
    """Read an experiment; errors name the argument `set` instead of the command's option `--set`."""
    try:
        return read()
    except ExperimentFileError as error:
        text = str(error).replace(f"\n  {SET}  ", "\n  set    ").replace(SET, "set")
        raise ExperimentFileError(text) from None


def _of_dict(given: Mapping[str, Any], changes: list[tuple[Any, Any]]) -> Experiment:
    name = given.get("name")
    title = f"experiment {name}" if isinstance(name, str) and name else "experiment"
    values, violations = plain(given)
    errors = [FileError("dict", dotted_key(v.path), v.rule) for v in violations]
    document = Document(values, {(): "dict"}, errors)

    def read() -> Experiment:
        return Reader(Path(title), dump_yaml(values), document, _texts(changes, title)).experiment()

    return _named_set(read)


def _of_value(given: Experiment, changes: list[tuple[Any, Any]]) -> Experiment:
    """Check a value too: it may have been made without the checks of a file."""
    read = _of_dict(document_of(given), changes)
    return read if changes or not given.source_text else given
