"""A small or read-only disk: a tmpfs. Only root may mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

FILLER = "filler"


@dataclass(frozen=True)
class SmallDisk:
    """A disk mounted at `path`."""

    path: Path

    def fill(self, leave: int = 0) -> None:
        """Fill all space but `leave` bytes, rounded down to whole pages."""
        with (self.path / FILLER).open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        if leave:
            size = (self.path / FILLER).stat().st_size
            os.truncate(self.path / FILLER, max(0, size - leave // 4096 * 4096))

    def free_space(self) -> None:
        """Undo `fill`."""
        (self.path / FILLER).unlink()

    def read_only(self, on: bool = True) -> None:
        """Make the disk read-only, or writable again."""
        _mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.path))


@contextmanager
def small_disk(path: Path, *, size_kb: int) -> Iterator[SmallDisk]:
    """Mount a disk at `path`, a new folder; skip the test if that is not allowed."""
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"a tmpfs cannot be mounted here, which needs root: {said.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
