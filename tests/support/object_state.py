"""The state of an object as plain values, so that two objects can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum
from typing import Any


def state_of(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """All values in the object: equal for two objects that are in the same state."""
    if isinstance(value, Enum):
        return value
    if id(value) in inside:
        return "itself"
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        items = [(state_of(key, inside), state_of(item, inside)) for key, item in value.items()]
        return (type(value).__name__, sorted(items, key=repr), _attributes(value, inside))
    if isinstance(value, list | tuple):
        return [state_of(item, inside) for item in value]
    if isinstance(value, Set):
        return sorted((state_of(item, inside) for item in value), key=repr)
    if isinstance(value, type) or callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if hasattr(value, "__dict__"):
        return (type(value).__name__, _attributes(value, inside))
    return value


def _attributes(value: Any, inside: tuple[int, ...]) -> dict[str, Any]:
    return {name: state_of(item, inside) for name, item in sorted(getattr(value, "__dict__", {}).items())}
