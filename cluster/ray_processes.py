"""Keeps Ray from starting processes that a sweep does not use, and from taking the driver's signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_UNUSED = ("start_monitor", "start_log_monitor", "start_api_server")
"""The autoscaler, what sends workers' output to the driver, and the web server (checked with Ray 2.60)."""


@contextmanager
def only_needed_processes() -> Iterator[None]:
    """Inside the block, `ray.init` starts its control process and its raylet only.

    `ray.init` has no options for the others, and starts and awaits a web server even without a dashboard.
    Together they take a second and a half of processor time, which the imports of the workers need. The
    methods that start them are private; a Ray that has none of such a name starts that process as before.
    """
    try:
        node: Any = import_module("ray._private.node").Node
    except (ImportError, AttributeError):
        yield
        return
    before = {name: getattr(node, name) for name in _UNUSED if callable(getattr(node, name, None))}
    for name in before:
        setattr(node, name, _start_nothing)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(node, name, method)


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """After the block, the handler for SIGTERM is the one from before, whatever `ray.init` has installed.

    Ray's own in Python exits with code 15 or 1, in the middle of whatever runs: a batch system takes that for
    a failure of the job, and does not queue it again. The function is private (checked with Ray 2.60). The
    one of its compiled part calls ours, but three seconds later an alarm aborts the process.
    """
    utils: Any = import_module("ray._private.utils")
    before = getattr(utils, "set_sigterm_handler", None)
    if before is not None:
        utils.set_sigterm_handler = _start_nothing
    try:
        yield
    finally:
        if before is not None:
            utils.set_sigterm_handler = before
        ours = signal.getsignal(signal.SIGTERM)
        if ours is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)  # Python does not know that it was replaced


def _start_nothing(*args: Any, **options: Any) -> None:
    """What replaces such a function."""
