"""The memory that workers of a machine may use, as Ray counts it."""

from __future__ import annotations

import os

from cluster.health.machine import read_memory

SHARE_OF_WORKERS = 0.7
"""Ray keeps the other 30 % of a machine's memory for its object store."""


def usable_memory() -> float:
    """Bytes of RAM for workers, at most: what other programs use now is not subtracted.

    Within a container's limit, where there is one.
    """
    total, _ = read_memory()
    if total is None:  # not on Linux
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return SHARE_OF_WORKERS * total
