"""Tests that a folder is one shared file system for all nodes, which behaves as experiments need it.

The driver makes a folder in the storage folder, with a file to read, one that it has claimed, and one that
it has locked. Each node finds them, leaves a file of its own, and measures. At the end the folder is removed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

FOLDER_PREFIX = ".adaptertune-check-"
WRITES = 5
BLOCK = bytes(range(256)) * 16
"""4 KiB, about a line of the ledger."""
REMOVE_TRIES = 10
REMOVE_PAUSE_S = 0.2
_GREETING, _CLAIMED, _LOCKED, _RACE = "driver", "claimed", "locked", "race"


class Locks(StrEnum):
    """What a node sees of a lock that the driver holds."""

    CROSS = "cross"
    DO_NOT_CROSS = "do not cross"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class StorageFindings:
    """What a node sees of the storage. None: not tried, because something before it failed.

    error: why the folder cannot be read or written there; empty if it can.
    shared: whether the node sees the driver's file, with its content.
    write_ms, read_ms: the median of some blocks of 4 KiB, written with fsync, and read.
    claims: whether a file that exists is not created a second time.  won: whether this node created the file
    that all of them try to create.  renames: whether a rename replaces a file.  links: whether hard links
    work. seen: whether the driver sees the node's file.
    """

    error: str = ""
    shared: bool | None = None
    kind: str = ""
    write_ms: float | None = None
    read_ms: float | None = None
    free_bytes: int | None = None
    free_files: int | None = None
    claims: bool | None = None
    won: bool | None = None
    renames: bool | None = None
    links: bool | None = None
    locks: Locks | None = None
    seen: bool | None = None


@dataclass(frozen=True)
class Probe:
    """The folder in which driver and nodes leave files for each other."""

    storage: Path
    folder: Path
    secret: str

    def sees(self, name: str) -> bool:
        """Whether the file that the node `name` leaves is here. For the driver."""
        try:
            return (self.folder / name).read_text(encoding="ascii") == self.secret
        except (OSError, ValueError):
            return False


_open: set[Path] = set()
"""The probe folders of this process."""


def remove_probes_of_this_process() -> None:
    """Remove them now, before the process ends without cleaning up."""
    for folder in tuple(_open):
        remove(folder)


@contextmanager
def probe_in(storage: Path) -> Iterator[Probe]:
    """Make the probe folder, with the driver's files; remove all of it at the end.

    A storage folder that does not exist is made, and removed again. Raises OSError if that is not possible.
    """
    made = _make(storage)
    probe = Probe(storage, storage / f"{FOLDER_PREFIX}{secrets.token_hex(6)}", secrets.token_hex(16))
    try:
        probe.folder.mkdir()
        _open.add(probe.folder)
        try:
            (probe.folder / _GREETING).write_text(probe.secret, encoding="ascii")
            (probe.folder / _CLAIMED).touch(exist_ok=False)
            descriptor = os.open(probe.folder / _LOCKED, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                with suppress(OSError):  # a file system without locks, as the nodes will see
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield probe
            finally:
                os.close(descriptor)
        finally:
            remove(probe.folder)
            _open.discard(probe.folder)
    finally:
        for folder in made:
            with suppress(OSError):  # somebody uses it now
                folder.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns the new ones, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove(folder: Path, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Remove a folder, into which a node may be writing still. Gives up after some tries."""
    for _ in range(REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        pause(REMOVE_PAUSE_S)


def examine_storage(probe: Probe, name: str) -> StorageFindings:
    """What a node sees. name: of the file that it leaves for the driver."""
    try:
        if not probe.storage.is_dir():
            return StorageFindings("there is no such folder")
        kind = file_system_of(probe.storage)
        if not _greeted(probe):
            return StorageFindings(shared=False, kind=kind)
    except OSError as error:
        return StorageFindings(_reason(error))
    try:
        (probe.folder / name).write_text(probe.secret, encoding="ascii")
        write_ms, read_ms = _times(probe.folder / f"{name}.block")
        disk = os.statvfs(probe.storage)
        return StorageFindings(
            shared=True,
            kind=kind,
            write_ms=write_ms,
            read_ms=read_ms,
            free_bytes=disk.f_bavail * disk.f_frsize,
            free_files=disk.f_favail if disk.f_files else None,
            claims=not _creates(probe.folder / _CLAIMED),
            won=_creates(probe.folder / _RACE),
            renames=_renames(probe.folder, name),
            links=_links(probe.folder, name),
            locks=_locks(probe.folder / _LOCKED),
        )
    except OSError as error:
        return StorageFindings(_reason(error), shared=True, kind=kind)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _greeted(probe: Probe) -> bool:
    try:
        return (probe.folder / _GREETING).read_text(encoding="ascii") == probe.secret
    except FileNotFoundError:
        return False


def _times(file: Path) -> tuple[float, float]:
    """The median times, in milliseconds, to write a block so that it is stored, and to read it."""
    written, read = [], []
    for _ in range(WRITES):
        begun = time.perf_counter()
        with file.open("wb", buffering=0) as out:
            out.write(BLOCK)
            os.fsync(out.fileno())
        written.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        content = file.read_bytes()
        read.append(time.perf_counter() - begun)
        if content != BLOCK:
            raise OSError("what is read is not what was written")
    file.unlink()
    return statistics.median(written) * 1000, statistics.median(read) * 1000


def _creates(file: Path) -> bool:
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def _renames(folder: Path, name: str) -> bool:
    old, new = folder / f"{name}.old", folder / f"{name}.new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    try:
        os.replace(new, old)
    except OSError:
        return False
    return old.read_bytes() == b"new" and not new.exists()


def _links(folder: Path, name: str) -> bool:
    try:
        os.link(folder / name, folder / f"{name}.link")
    except OSError:
        return False
    return True


def _locks(file: Path) -> Locks:
    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Locks.CROSS
    except OSError:
        return Locks.UNSUPPORTED
    finally:
        os.close(descriptor)
    return Locks.DO_NOT_CROSS


def file_system_of(folder: Path, *, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of the file system that holds a folder, such as `nfs4`; empty if it is not known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        return ""
    place, found, longest = str(folder.resolve()), "", -1
    for words in (line.split() for line in lines):
        if len(words) < 3:
            continue
        at = words[1].replace("\\040", " ")
        inside = at == "/" or place == at or place.startswith(f"{at}/")
        if inside and len(at) >= longest:  # of two mounts at one place, the later one is seen
            found, longest = words[2], len(at)
    return found
