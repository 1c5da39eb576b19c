"""Functions in a copy of the fork server, called by a task of Ray like its own."""

from __future__ import annotations

from typing import Any

from cluster.forked.copy import Copy
from cluster.paused_collector import import_by_name


class Functions:
    """Calls functions by their names."""

    def call(self, name: str, argument: Any) -> Any:
        """What the function `module:function` returns."""
        return import_by_name(name)(argument)


_copy: Copy | None = None
"""The copy that computes for this process: all its tasks share it, and what it has loaded."""


def call_function(name: str, argument: Any) -> Any:
    """What a function returns, in a copy of the fork server, or else in this process. Raises its error."""
    global _copy
    if _copy is None:
        _copy = Copy.found(f"{__name__}:{Functions.__name__}")
    if _copy is None:
        return Functions().call(name, argument)
    try:
        return _copy.call("call", name, argument)
    except Exception:
        raise
    except BaseException:  # a cancelled task, whose answer would be taken for that of the next one
        _copy = None
        raise
