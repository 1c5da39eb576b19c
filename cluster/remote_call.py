"""A Ray task's function by its name, so that only workers import it."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from cluster.node_setup import at_home


def call(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the function `module:function` makes of `given`, with prepared data as it is on this node."""
    made: dict[str, Any] = resolve_name(name)(at_home(given))
    return made
