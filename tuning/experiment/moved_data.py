"""The paths of an experiment to its data and its model's folder, and what becomes of them when data move."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from trainables.errors import AdaptertuneError
from trainables.specs.data_formats import PATHS_OF_PARTS, PATHS_OF_SOURCES
from tuning.experiment.spec import Experiment

Keys = tuple[str, ...]

SYNTAX = "--move-data must be OLD=NEW: the folder or file where data were, and where they are now"


def data_paths(experiment: Experiment) -> dict[str, str]:
    """The absolute paths of the data, and of a local model, by dotted key."""
    found: dict[str, str] = {}

    def note(keys: Keys, path: str) -> str:
        found[".".join(keys)] = path
        return path

    _each_path(_values(experiment), note)
    return found


def absent_paths(experiment: Experiment) -> dict[str, str]:
    """Those of `data_paths` where nothing is."""
    return {key: path for key, path in data_paths(experiment).items() if not os.path.exists(path)}


def led_paths(experiment: Experiment, moved: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Those of `data_paths` that an OLD of `moved` leads to, each as (NEW, the path below NEW)."""
    return {
        key: (moved[old], _now_at(path, moved))
        for key, path in data_paths(experiment).items()
        if (old := _old_of(path, moved)) is not None
    }


def with_moved_data(experiment: Experiment, moves: Iterable[Mapping[str, str]]) -> Experiment:
    """The experiment with its paths where the data are now. moves: as recorded, one after the other."""
    if not (moves := [each for each in moves if each]):
        return experiment
    values = _values(experiment)
    for moved in moves:
        values = move_values(values, moved)
    given = Experiment.model_validate_json(json.dumps(values))
    return given.model_copy(update={"source_text": experiment.source_text})


def move_values(values: Mapping[str, JsonValue], moved: Mapping[str, str]) -> dict[str, JsonValue]:
    """An experiment's plain values with the paths below each OLD of `moved` below its NEW instead."""
    copied: dict[str, JsonValue] = json.loads(json.dumps(values))
    _each_path(copied, lambda keys, path: _now_at(path, moved))
    return copied


def read_moves(texts: Sequence[str], experiment: Experiment) -> dict[str, str]:
    """What `--move-data` gives: `OLD=NEW`. A path may contain `=`: then OLD is what leads to data.

    Raises AdaptertuneError for another form; what `check_moves` refuses stays as it is.
    """
    paths = data_paths(experiment).values()
    found: dict[str, str] = {}
    for text in texts:
        pairs = [(text[:i], text[i + 1 :]) for i, sign in enumerate(text) if sign == "="]
        pairs = [(old, new) for old, new in pairs if old and new]
        if not pairs:
            raise AdaptertuneError(f"{SYNTAX}, got '{text}'")
        leading = [pair for pair in pairs if any(_below(path, plain_path(pair[0])) for path in paths)]
        old, new = (leading or pairs)[0]
        if plain_path(old) in map(plain_path, found):
            raise AdaptertuneError(f"--move-data names {old} twice; each folder can be at one place only")
        found[old] = new
    return found


def check_moves(given: Mapping[Any, str | os.PathLike[str]], experiment: Experiment) -> dict[str, str]:
    """The moves with absolute paths. Raises AdaptertuneError where OLD leads to none of the data, or
    nothing is at NEW.
    """
    paths = data_paths(experiment)
    found: dict[str, str] = {}
    for old, new in given.items():
        if not all(isinstance(path, str | os.PathLike) and os.fspath(path) for path in (old, new)):
            raise AdaptertuneError(f"moved data need two paths, OLD and NEW, got {old!r} and {new!r}")
        old, new = plain_path(os.fspath(old)), plain_path(os.fspath(new))
        if not any(_below(path, old) for path in paths.values()):
            raise AdaptertuneError(
                f"--move-data: {old} is not where data of {experiment.name} were; {_listed(paths)}"
            )
        if not os.path.exists(new):
            raise AdaptertuneError(f"--move-data: data must be at the new place, but nothing is at {new}")
        found[old] = new
    return found


def moves_between(was: Experiment, now: Experiment) -> dict[str, str] | None:
    """The moves that make the paths of `was` those of `now`, whole path by whole path; None if there are none
    that do, as where one path is now at two places.
    """
    before, after = data_paths(was), data_paths(now)
    if before.keys() != after.keys():
        return None
    moved: dict[str, str] = {}
    for key, path in before.items():
        if moved.setdefault(path, after[key]) != after[key]:
            return None
    return {old: new for old, new in moved.items() if old != new}


def shared_folder(paths: Iterable[str]) -> str:
    """The folder that contains all of the paths, to show as OLD."""
    given = list(paths)
    return given[0] if len(given) == 1 else os.path.commonpath(given)


def _listed(paths: Mapping[str, str]) -> str:
    if not paths:
        return "it has no data in files"
    return "its paths are" + "".join(f"\n  {key}: {path}" for key, path in paths.items())


def plain_path(path: str) -> str:
    """The absolute path, as the record holds paths."""
    return os.path.abspath(Path(path).expanduser())


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _now_at(path: str, moved: Mapping[str, str]) -> str:
    old = _old_of(path, moved)
    if old is None:
        return path
    if path == old:
        return moved[old]
    return moved[old].rstrip("/") + path[len(old.rstrip("/")) :]


def _old_of(path: str, moved: Mapping[str, str]) -> str | None:
    """The longest OLD that leads to `path`; None if none does."""
    return max((old for old in moved if _below(path, old)), key=len, default=None)


def _values(experiment: Experiment) -> dict[str, JsonValue]:
    values: dict[str, JsonValue] = experiment.model_dump(mode="json", exclude={"source_text"})
    return values


def _each_path(values: Mapping[str, JsonValue], change: Callable[[Keys, str], str]) -> None:
    """Replace each local path in an experiment's plain values, in place."""
    data = values.get("data")
    if isinstance(data, dict):
        for kind, keys in PATHS_OF_PARTS.items():
            for part in ("train", "validation", "test"):
                _inside(data, (kind, part), keys, ("data",), change)
        domains = data.get("domains")
        for name in domains if isinstance(domains, dict) else ():
            for kind, keys in {**PATHS_OF_PARTS, "yolo": (PATHS_OF_SOURCES["yolo"],)}.items():
                for place in ((name, kind), (name, "validation", kind)):
                    _inside(domains, place, keys, ("data", "domains"), change)
        _inside(values, ("data",), ("folder",), (), change)
        for kind, key in PATHS_OF_SOURCES.items():
            _inside(data, (kind,), (key,), ("data",), change)
    _inside(values, ("model",), ("name",), (), change)


def _inside(
    values: JsonValue | Mapping[str, JsonValue],
    place: Keys,
    keys: Keys,
    above: Keys,
    change: Callable[[Keys, str], str],
) -> None:
    inner = values
    for key in place:
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    if not isinstance(inner, dict):
        return
    for key in keys:
        path = inner.get(key)
        if isinstance(path, str) and os.path.isabs(path):  # another is a name on the hub
            inner[key] = change((*above, *place, key), path)
