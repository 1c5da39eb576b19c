"""Pauses Python's garbage collector while large libraries are imported.

An import of torch, transformers and PEFT makes about 900,000 objects that live as long as the process. The
collector searches them again and again while they grow: a quarter of the import's time.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any


@contextmanager
def collector_paused(*, freeze: bool = False) -> Iterator[None]:
    """Pause the collector inside the block, unless the process has turned it off itself.

    freeze: exclude all objects that exist at the end from later collections (`gc.freeze`), for a process that
    has only imported until then. Otherwise the first collection afterwards searches them all once.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if was_on:
            gc.enable()


def import_by_name(name: str) -> Any:
    """The object `module:name`. If its module must be imported first, the collector is paused for that.

    The objects of a process that has imported the module are not frozen: some may belong to a failed trial.
    """
    if name.partition(":")[0] in sys.modules:
        return resolve_name(name)
    with collector_paused(freeze=True):
        return resolve_name(name)
