"""A Ray task's function by its name, so that only workers import it."""

from __future__ import annotations

import importlib
from typing import Any

from cluster.node import at_home


def call(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the function `module:function` makes of `given`, with prepared data as it is on this node."""
    module, function = name.split(":")
    made: dict[str, Any] = getattr(importlib.import_module(module), function)(at_home(given))
    return made
