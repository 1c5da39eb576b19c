"""The number of a trial's newest start, which the driver writes before the trial runs.

A worker with an older number may write no checkpoint: its trial has started elsewhere, while it was frozen or
cut off. Between its last look and the renaming of its file is a moment in which that can still happen unseen.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trainables.errors import StorageError
from trainables.storage_paths import Place

STARTS = "starts"
"""The folder of the numbers, beside the folder `trials` of the checkpoints."""


def start_file(root: Place, trial: int) -> Place:
    """The file with the number of a trial's newest start. root: of the checkpoints."""
    return root / STARTS / f"{trial:04d}"


def write_start(file: Place, number: int) -> None:
    """Write the number of a start. A disk that is full, or a store that does not answer, delays no trial."""
    content = b"%d\n" % number
    with suppress(OSError, StorageError):
        if not isinstance(file, Path):
            file.write_bytes(content)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        unfinished.write_bytes(content)
        os.replace(unfinished, file)


def newest_start(file: Place) -> int:
    """The number of the newest start; 0 if none is known, as in an experiment of before."""
    try:
        return int(file.read_bytes())
    except (OSError, StorageError, ValueError):
        return 0
