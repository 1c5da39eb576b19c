"""Lets the actors of Ray Tune run in the worker processes that Ray has started in advance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def trials_without_own_environment() -> Iterator[None]:
    """Inside the block, Ray Tune's actors have no runtime environment of their own.

    Ray Tune gives every actor a `runtime_env` with a few environment variables. A worker with a runtime
    environment cannot be an idle one: Ray starts a new process for it, which imports Ray twice, and the idle
    ones are never used. On one machine the workers inherit these variables from the driver anyway.

    These are two private names (checked with Ray 2.60); a Ray without them starts its workers as before.
    """
    try:
        cache: Any = import_module("ray.tune.execution.class_cache")
        before = cache.DEFAULT_ENV_VARS, cache.ENV_VARS_TO_PROPAGATE
    except (ImportError, AttributeError):
        yield
        return
    cache.DEFAULT_ENV_VARS, cache.ENV_VARS_TO_PROPAGATE = {}, frozenset()
    try:
        yield
    finally:
        cache.DEFAULT_ENV_VARS, cache.ENV_VARS_TO_PROPAGATE = before
