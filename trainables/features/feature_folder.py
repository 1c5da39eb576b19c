"""The folder of all files of hidden states on this machine, within a limit of space.

Files that no process has open are removed to make room, the one that was used longest ago first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainables.data.content.cache_folder import cache_root
from trainables.features.feature_file import FeatureFile, FileShape, reserved_in

PREPARED = "prepared"
"""The folder of prepared data in a cache."""
SUFFIX = ".features"
LOCK = ".lock"
LOCK_WAIT_S = 30.0
KEPT_FREE = 10**9
"""Bytes of the disk that are left for checkpoints and everything else; of a small disk a tenth."""
GB = 10**9


class NoRoomError(Exception):
    """There is no room for a file; the message says why and what to do."""


@dataclass(frozen=True)
class _Held:
    """A file in the folder.  bytes: what it takes or will take.  allocated: what it takes now."""

    path: Path
    used_ns: int
    bytes: int
    allocated: int


@dataclass(frozen=True)
class FeatureFolder:
    """A folder and the most bytes that its files may take."""

    path: Path
    limit: int

    @classmethod
    def beside(cls, prepared: Path, limit_gb: float) -> FeatureFolder:
        """The folder in the cache that holds the data `prepared`, which a worker knows also without the
        driver's environment; in this machine's cache for data at another place.
        """
        root = prepared.parent.parent if prepared.parent.name == PREPARED else cache_root()
        return cls(root / "features", int(limit_gb * GB))

    def open(self, shape: FileShape, rows: int) -> FeatureFile:
        """The file of this key, made if it does not exist, with room for `rows` rows.

        Raises NoRoomError if there is no room for them, or nothing can be written there.
        """
        needed = shape.needed(rows)
        if needed > self.limit:
            raise NoRoomError(
                f"{_gb(needed)} GB are needed, and data.cache_gb allows {self.limit / GB:g}; "
                "raise it to compute what is frozen only once"
            )
        path = self.path / (hashlib.sha256(shape.described).hexdigest()[:32] + SUFFIX)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / LOCK, timeout=LOCK_WAIT_S):
                self._make_room(path, needed)
                file = self._opened(path, shape)
                file.reserve(needed)
                os.utime(path)
                return file
        except Timeout:
            raise NoRoomError(f"another process holds {self.path / LOCK}") from None
        except OSError as error:
            raise NoRoomError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def _opened(self, path: Path, shape: FileShape) -> FeatureFile:
        with suppress(ValueError, FileNotFoundError):
            return FeatureFile(path, shape)
        path.unlink(missing_ok=True)  # damaged
        FeatureFile.create(path, shape)
        return FeatureFile(path, shape)

    def _make_room(self, path: Path, needed: int) -> None:
        """Remove old files until `path` may grow to `needed` bytes."""
        files = {file.path: file for file in self._files()}
        own = files.pop(path, None)
        needed = max(needed, own.bytes if own else 0)
        growth = needed - (own.allocated if own else 0)
        held = sum(file.bytes for file in files.values())
        promised = sum(file.bytes - file.allocated for file in files.values())
        space = shutil.disk_usage(self.path)
        free = space.free - min(KEPT_FREE, space.total // 10) - promised - growth
        excess = held + needed - self.limit
        for file in sorted(files.values(), key=lambda file: file.used_ns):
            if excess <= 0 and free >= 0:
                return
            if _remove_unused(file.path):
                excess -= file.bytes
                free += file.bytes
        if free < 0:
            raise NoRoomError(
                f"{_gb(growth)} GB are needed, and the disk of {self.path} has too little space"
            )
        if excess > 0:
            raise NoRoomError(
                f"{_gb(needed)} GB are needed, and running trials use {_gb(held)} of the "
                f"{self.limit / GB:g} GB of data.cache_gb; raise it to compute what is frozen only once"
            )

    def _files(self) -> Iterator[_Held]:
        for path in self.path.glob(f"*{SUFFIX}"):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            try:
                found = os.fstat(descriptor)
                allocated = found.st_blocks * 512
                size = max(allocated, reserved_in(descriptor))
                yield _Held(path, found.st_mtime_ns, size, allocated)
            finally:
                os.close(descriptor)


def _remove_unused(path: Path) -> bool:
    """Remove a file unless a process has it open."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _gb(size: int) -> str:
    return f"{size / GB:.3g}"
