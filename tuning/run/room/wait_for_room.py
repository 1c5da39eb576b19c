"""Waits until a worker of a sweep fits on a machine of its cluster."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from cluster.capacity import does_not_fit
from cluster.connect import Cluster
from cluster.demand import demanded
from trainables.errors import StorageError
from tuning.messages import say
from tuning.run.room.worker_needs import WorkerNeeds

VARIABLE = "ADAPTERTUNE_NODES_WITHIN_S"
WITHIN_S = 900.0
"""Seconds to wait if the variable is not set: a cloud takes some minutes to start a machine with a GPU."""
POLL_INTERVAL_S = 0.5


def wait_for_room(
    cluster: Cluster,
    needs: WorkerNeeds,
    check: Callable[[], None],
    *,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return when a worker fits on a machine; on a cluster that others started, one may still have to join.

    check: called while it waits; what it raises ends the wait. Raises StorageError if no worker fits within
    the seconds of `ADAPTERTUNE_NODES_WITHIN_S`, at once on this machine.
    """
    within_s = _within_s() if cluster.joined else 0.0

    def lacking() -> str | None:
        nodes = cluster.nodes()
        return does_not_fit(nodes, needs(nodes))

    if (error := lacking()) is None:
        return
    if within_s:
        say(f"{error}. Waiting for a machine to join, for at most {within_s:g} s ({VARIABLE}); Ctrl-C ends")
        deadline = now() + within_s
        with demanded(needs(cluster.nodes())):
            while now() < deadline:
                check()
                pause(POLL_INTERVAL_S)
                if (error := lacking()) is None:
                    say("a machine has joined: the sweep begins")
                    return
        error = f"no machine joined within {within_s:g} s: {error}"
    raise StorageError(error)


def _within_s() -> float:
    """The time limit. Raises StorageError if the variable is not a number of seconds."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return WITHIN_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise StorageError(f"{VARIABLE} must be a number of seconds, 0 or more, got {text}")
    return seconds
