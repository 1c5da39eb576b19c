"""Relative paths of an experiment file, made absolute."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

from trainables.specs.data_formats import PATHS_OF_PARTS, PATHS_OF_SOURCES
from tuning.experiment.file_errors import Path

Base = Callable[[Path], FilePath]
"""The folder that a path is relative to, by the key of the path in the file."""

_PATHS = tuple(
    (source, part, key)
    for source, keys in PATHS_OF_PARTS.items()
    for part in ("train", "validation", "test")
    for key in keys
)
_SQLITE_HERE = r"sqlite(\+\w+)?:///[^/:]"
"""An SQLite database with a relative path; an absolute one has four slashes."""
_DOMAIN_PATHS = (
    *((source, key) for source, keys in PATHS_OF_PARTS.items() for key in keys),
    ("yolo", PATHS_OF_SOURCES["yolo"]),
)


def make_absolute(value: dict[str, Any], base: Base) -> None:
    """Make the paths in an experiment's plain values absolute. Changed parts of `value` are replaced."""
    data = value.get("data")
    if isinstance(data, dict):
        value["data"] = data = json.loads(json.dumps(data))
        for source, part, key in _PATHS:
            inner = data.get(source)
            inner = inner.get(part) if isinstance(inner, dict) else None
            if isinstance(inner, dict) and isinstance(inner.get(key), str):
                inner[key] = _absolute(inner[key], ("data", source, part, key), base)
        if isinstance(data.get("folder"), str):
            data["folder"] = _absolute(data["folder"], ("data", "folder"), base)
        _domain_paths(data, base)
        for source, key in PATHS_OF_SOURCES.items():
            whole = data.get(source)
            if isinstance(whole, dict) and isinstance(whole.get(key), str):
                made = _local if source == "hub" else _absolute
                whole[key] = made(whole[key], ("data", source, key), base)
    search = value.get("search")
    if isinstance(search, dict) and isinstance(search.get("from"), list):
        value["search"] = search | {
            "from": [_elsewhere(name, ("search", "from", i), base) for i, name in enumerate(search["from"])]
        }
    views = value.get("views")
    if (
        isinstance(views, dict)
        and isinstance(url := views.get("optuna"), str)
        and re.match(_SQLITE_HERE, url)
    ):
        scheme, _, path = url.partition(":///")
        value["views"] = views | {"optuna": f"{scheme}:///{_absolute(path, ('views', 'optuna'), base)}"}
    model = value.get("model")
    if isinstance(model, dict) and isinstance(model.get("name"), str) and model["name"] != "embedded":
        value["model"] = model | {"name": _local(model["name"], ("model", "name"), base)}


def _domain_paths(data: dict[str, Any], base: Base) -> None:
    domains = data.get("domains")
    if not isinstance(domains, dict):
        return
    for name, domain in domains.items():
        for source, key in _DOMAIN_PATHS:
            for above in ((), ("validation",)):
                inner = domain.get("validation") if above and isinstance(domain, dict) else domain
                inner = inner.get(source) if isinstance(inner, dict) else None
                if isinstance(inner, dict) and isinstance(inner.get(key), str):
                    path = ("data", "domains", name, *above, source, key)
                    inner[key] = _absolute(inner[key], path, base)


def _absolute(text: str, path: Path, base: Base) -> str:
    return os.path.normpath(base(path) / FilePath(text).expanduser()) if text else text


def _local(text: str, path: Path, base: Base) -> str:
    """A hub id unchanged, a path made absolute."""
    absolute = _absolute(text, path, base)
    looks_local = text.startswith((".", "/", "~", os.sep))
    return absolute if looks_local or (text and FilePath(absolute).exists()) else text


def _elsewhere(text: Any, path: Path, base: Base) -> Any:
    """An experiment's name unchanged, a path made absolute."""
    is_path = isinstance(text, str) and (os.sep in text or text.startswith("~"))
    return _absolute(text, path, base) if is_path else text
