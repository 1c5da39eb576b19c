"""Waits until the nodes of a Ray cluster have joined.

Job files run `python -m cluster.wait_for_nodes ADDRESS NODES SECONDS` before the driver. After the time limit
the sweep begins with the nodes that are there: others may join while it runs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

POLL_INTERVAL_S = 0.5


def wait_for_nodes(
    count: Callable[[], int],
    nodes: int,
    within_s: float,
    *,
    tell: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until `count()` is at least `nodes`, or `within_s` seconds are over; returns the last count.

    tell: called with a message at each change, and at the end.
    """
    deadline, seen = now() + within_s, -1
    while True:
        alive = count()
        if alive != seen:
            tell(f"{alive} of {nodes} nodes are there")
            seen = alive
        if alive >= nodes:
            return alive
        if now() >= deadline:
            tell(f"the others did not join within {within_s:g} s; the sweep begins without them")
            return alive
        pause(POLL_INTERVAL_S)


def main() -> None:
    """Wait as the arguments say."""
    address, nodes, seconds = sys.argv[1:]
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    try:
        wait_for_nodes(
            lambda: sum(bool(node["Alive"]) for node in ray.nodes()),
            int(nodes),
            float(seconds),
            tell=lambda message: print(message, file=sys.stderr, flush=True),
        )
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
