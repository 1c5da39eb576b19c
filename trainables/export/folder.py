"""The folder that an export is written into: all of it, or nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from trainables.errors import StorageError


def check_empty(to: Path) -> None:
    """Raise StorageError if something is in the way."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StorageError(f"{to} is not empty; choose another folder with --to")


@contextmanager
def export_folder(to: Path) -> Iterator[Path]:
    """A folder next to `to`, which is renamed to `to` after all is written. Raises StorageError."""
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        if to.exists():
            to.rmdir()
        os.replace(part, to)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or f"os error {errno.ENOSPC}" in str(error)
        why = "the disk is full; free some space" if full else getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{to}: cannot write the export: {why}; nothing was left there") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
