"""A valid copy of an experiment with a damaged record, beside it. The experiment itself is not touched."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from trainables.errors import LedgerError, StorageError
from trainables.run_folder import BASELINE_CLAIM, CONTROL
from tuning.ledger.ledger import LEDGER
from tuning.ledger.repair import Repaired, repaired
from tuning.ledger.requests import requests_in

COPIED = ("trials", "parents")
"""The folders that are copied. Tables, trackers' files and the study are written again from the record."""
NEVER_CHANGED = ".ckpt"
"""Files of this kind are replaced as a whole, never written into, so the copy may share them."""


def examine_record(folder: Path) -> Repaired:
    """What can be kept of the record in `folder`. Raises LedgerError if nothing can, or it cannot be read."""
    try:
        content = (folder / LEDGER).read_bytes()
    except OSError as error:
        raise LedgerError(f"cannot read {folder / LEDGER}: {error.strerror}") from error
    try:
        return repaired(content)
    except LedgerError as error:
        raise LedgerError(f"{folder / LEDGER}: {error}") from error


def write_copy(folder: Path, to: Path, found: Repaired) -> None:
    """Write what is kept, with logs and checkpoints, to a new folder. The record comes last, as a whole.

    Raises StorageError if the folder exists, or cannot be written; what was written is then removed.
    """
    try:
        to.mkdir()
    except FileExistsError as error:
        raise StorageError(f"{to} already exists; give another name with --to") from error
    except OSError as error:
        raise StorageError(f"{to} cannot be written: {error.strerror}") from error
    try:
        for name in COPIED:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, to / name, copy_function=_copy)
        for request in requests_in(folder):
            (to / CONTROL).mkdir(exist_ok=True)
            shutil.copy2(request, to / CONTROL / request.name)
        if found.history.baseline is not None:
            (to / BASELINE_CLAIM).touch()
        unfinished = to / f".{LEDGER}"
        unfinished.write_bytes(b"".join(found.lines))
        os.replace(unfinished, to / LEDGER)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(to, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StorageError(f"{to} cannot be written: {reason}") from error


def _copy(source: str, target: str) -> str:
    if source.endswith(NEVER_CHANGED):
        with suppress(OSError):  # another file system, or one without links
            os.link(source, target)
            return target
    return str(shutil.copy2(source, target))
