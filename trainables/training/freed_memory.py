"""Lets a process keep the memory that a training step frees, for the next step.

Each step allocates and frees the same tensors of some megabytes. glibc returns such memory to the system,
which then clears every page again: a fifth of the time of a step on a CPU.
"""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, see `man mallopt`."""
_NEVER = 2**31 - 1
_LARGEST = (2**30, 2**25)
"""Sizes from which an allocation is a mapping of its own; some versions of glibc accept 32 MB at most."""


@cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory; returns whether it will. Another C library is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = bool(mallopt(_TRIM_THRESHOLD, _NEVER))
    return kept and any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST)
