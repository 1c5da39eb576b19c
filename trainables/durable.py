"""Files that get their name when they are whole, and that are on the disk when a call returns if asked."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(path: Path, *parts: bytes, durable: bool = False) -> None:
    """Write a file. durable: wait until its content is on its disk, not only with the operating system.

    Raises OSError.
    """
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def rename_file(path: Path, to: Path, *, durable: bool = False) -> None:
    """Give a file its name, in place of another one. durable: wait until the name is on its disk.

    Raises OSError.
    """
    os.replace(path, to)
    if durable:
        sync_folder(to.parent)


def sync_folder(folder: Path) -> None:
    """Wait until new and renamed names in a folder are on its disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
