"""The class that runs trials, and code that workers cannot import."""

from __future__ import annotations

import sys
from typing import Any

from cluster.packages import PACKAGES


def trainable_of(given: type[Any] | None) -> type[Any]:
    """The class that Ray runs: the default one, or another whose code is sent along."""
    if given is None:
        from cluster.ray_worker import Worker

        return Worker
    for base in given.__mro__:
        send_along(base.__module__)
    return given


def send_along(module: str) -> None:
    """Pickle by value what this module defines, unless workers can import the module."""
    from ray import cloudpickle

    if module.split(".")[0] not in (*PACKAGES, "ray", "builtins"):
        cloudpickle.register_pickle_by_value(sys.modules[module])
