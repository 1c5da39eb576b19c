"""A Ray task's function by its name, so that only workers import it."""

from __future__ import annotations

import importlib
from typing import Any


def call(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the function `module:function` makes of `given`."""
    module, function = name.split(":")
    made: dict[str, Any] = getattr(importlib.import_module(module), function)(given)
    return made
