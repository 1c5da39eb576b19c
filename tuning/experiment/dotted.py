"""Access to nested values by dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue


def put_nested(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a nested value; missing dictionaries on the way are created."""
    for part in path[:-1]:
        inner = into.get(part)
        if not isinstance(inner, dict):
            inner = into[part] = {}
        into = inner
    into[path[-1]] = value


def dotted_leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """The dotted names and values of a nested mapping; a list counts as one value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from dotted_leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
