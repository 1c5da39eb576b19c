"""Python values as the plain values of a YAML file: text, numbers, true and false, lists, mappings."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel

from tuning.experiment.file_errors import Path, Violation
from tuning.experiment.yaml_lines import DEEPEST


def plain(value: Any, path: Path = ()) -> tuple[Any, list[Violation]]:
    """Convert `value` to plain values; return these, with None for what cannot be converted, and the errors.

    A tuple becomes a list, a path and an enum's member become their text, NumPy's numbers and arrays
    become Python's, and a part of an `Experiment` becomes its mapping.
    """
    violations: list[Violation] = []
    return _plain(value, path, violations, len(path)), violations


def _plain(value: Any, path: Path, violations: list[Violation], depth: int) -> Any:
    if depth > DEEPEST:
        violations.append(Violation(path[:1], f"is nested too deeply: at most {DEEPEST} levels"))
        return None
    if isinstance(value, Enum):
        value = value.value
    elif isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            violations.append(Violation(path, f"must be a finite number, got {value}"))
            return None
        return value
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return _mapping(value, path, violations, depth)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(item, (*path, i), violations, depth + 1) for i, item in enumerate(value)]
    violations.append(
        Violation(
            path, f"must be text, a number, true, false, a list or a mapping, got {type(value).__name__}"
        )
    )
    return None


def _mapping(value: Mapping[Any, Any], path: Path, violations: list[Violation], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = key.value if isinstance(key, Enum) else key
        if not isinstance(name, str):
            violations.append(Violation(path, f"a key must be text, got {key!r}"))
            continue
        found[name] = _plain(inner, (*path, name), violations, depth + 1)
    return found
