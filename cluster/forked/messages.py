"""What a worker of Ray and the process that trains for it say to each other."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

ADDRESS = "ADAPTERTUNE_FORK_SERVER"
"""The environment variable of Ray's workers with the path of the server's socket."""

COPY = "at-worker"
"""The name of the processes that train, as `top` shows it; at most 15 characters."""


@dataclass(frozen=True)
class Beginning:
    """What a copy takes over from the worker of Ray, so that it computes what that would compute.

    trainable: `module:Class`.  folder: the current folder.  path: that of imports.  niceness: its priority.
    """

    trainable: str
    environment: dict[str, str]
    folder: str
    path: tuple[str, ...]
    niceness: int


@dataclass(frozen=True)
class Call:
    """A call of a method of the trainable, with its only argument, if it has one."""

    method: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the method returned, or the error that it raised."""

    value: Any = None
    error: Exception | None = None


def portable(error: Exception) -> Exception:
    """The error itself if it can be pickled and read again, or else another one with its type and message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
