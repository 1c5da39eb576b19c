"""Digests of the content of files, each read once.

The digests are kept in the cache folder. One is used again only while the file's device, inode, size and
both times (of its content and of its inode) are unchanged. The time of the inode cannot be set by a user,
so it tells when a file was replaced by one with the same size and time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trainables.data.content.cache_folder import cache_root
from trainables.data.files.file_names import walk_below
from trainables.errors import DataError

FOLDER = "digests"
"""The folder of the stored digests, below the cache folder."""
VERSION = 1
ABSENT, UNREADABLE = "absent", "unreadable"
"""What stands for the digest of a file that does not exist, or whose content this user cannot read."""
THREADS = 8
"""Threads that read and digest: hashlib and reads release the GIL, and network drives answer slowly."""
BATCH = 128
CHUNK = 2**20
UNSETTLED_NS = 2 * 10**9
"""A file that changed this short before it was read may change again without another time: clocks of file
systems tick in steps, of up to 2 s. Its digest is not stored."""
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Stamp:
    """All that is compared before a stored digest is used again. Times in ns since 1970."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """From the result of `os.stat`, links followed."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def row(self) -> list[int]:
        """As it is stored."""
        return [self.device, self.inode, self.size, self.modified, self.changed]


def digest_files(
    files: Mapping[str, Path], scope: str, *, clock: Callable[[], int] = time.time_ns
) -> dict[str, str]:
    """The digest of each file's content, by the names in `files`; `ABSENT` or `UNREADABLE` for some.

    scope: names the store of these digests, such as the absolute path of their folder.
    clock: the present in ns since 1970.
    Raises DataError for a file that changes while it is read.
    """
    known = _read_store(scope)
    found: dict[str, str] = {}
    rows: dict[str, list[int | str]] = {}
    unread: list[tuple[str, Path]] = []
    for name, path in files.items():
        stamp = _stamp(path)
        if stamp is None:
            found[name] = ABSENT
        elif (row := known.get(name)) is not None and row[:-1] == stamp.row:
            found[name], rows[name] = str(row[-1]), row
        else:
            unread.append((name, path))
    for name, digest, stamp in _digest_all(unread, clock):
        found[name] = digest
        if stamp is not None:
            rows[name] = [*stamp.row, digest]
    if rows != known:
        _write_store(scope, rows)
    return {name: found[name] for name in files}


def digest_folder(folder: Path, suffixes: frozenset[str] | None = None) -> dict[str, str]:
    """`digest_files` of `files_below` a folder, wherever it is named from. Raises the errors of both."""
    return digest_files(files_below(folder, suffixes), os.path.realpath(folder))


def digest_of(values: Mapping[str, str]) -> str:
    """One digest of names and their digests, independent of their order."""
    text = json.dumps(sorted(values.items()))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def files_below(folder: Path, suffixes: frozenset[str] | None = None) -> dict[str, Path]:
    """The files below `folder` by relative path, as `walk_below` finds them. Raises its DataError.

    suffixes: only files with one of these, in lower case; all when absent.
    """
    return {
        name: path
        for name, path, exists in walk_below(folder)
        if exists and (suffixes is None or path.suffix.lower() in suffixes)
    }


# --- reading ----------------------------------------------------------------------------------


def _stamp(path: Path) -> Stamp | None:
    """None if there is no regular file."""
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno in GONE:
            return None
        return Stamp(0, 0, -1, 0, 0)  # it is read, which says what is wrong
    except ValueError:  # a null byte in the name
        return None
    return Stamp.of(found) if stat.S_ISREG(found.st_mode) else None


def _digest_all(
    files: Sequence[tuple[str, Path]], clock: Callable[[], int]
) -> Iterator[tuple[str, str, Stamp | None]]:
    """Yield name, digest, and the stamp if the digest may be stored."""

    def work(batch: Sequence[tuple[str, Path]]) -> list[tuple[str, str, Stamp | None]]:
        done = []
        for name, path in batch:
            settled = clock() - UNSETTLED_NS
            digest, stamp = _digest(path)
            keep = stamp is not None and max(stamp.changed, stamp.modified) < settled
            done.append((name, digest, stamp if keep else None))
        return done

    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    if len(batches) <= 1 and sum(_size(path) for _, path in files) < CHUNK:
        yield from work(files)  # threads would cost more than they save
        return
    # Few files may be large: then each is a batch of its own.
    if len(batches) < THREADS:
        batches = [[file] for file in files]
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="digest")
    try:
        for done in pool.map(work, batches):
            yield from done
    finally:
        pool.shutdown(cancel_futures=True)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _digest(path: Path) -> tuple[str, Stamp | None]:
    """The digest, and the stamp of the file that was read; none if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            before = Stamp.of(os.fstat(file.fileno()))
            digest, read = _read(file)
            after = Stamp.of(os.fstat(file.fileno()))
    except OSError as error:
        return (ABSENT if error.errno in GONE else UNREADABLE), None
    if before != after or read != after.size:
        raise DataError(
            f"{path} changed while it was read; data must not change while a run reads them: wait until"
            " they are complete, then start again"
        )
    return digest, after


def _read(file: IO[bytes]) -> tuple[str, int]:
    digest, read = hashlib.blake2b(digest_size=20), 0
    while block := file.read(CHUNK):
        digest.update(block)
        read += len(block)
    return digest.hexdigest(), read


# --- the store --------------------------------------------------------------------------------


def _store_of(scope: str) -> Path:
    return cache_root() / FOLDER / f"{hashlib.sha256(os.fsencode(scope)).hexdigest()[:32]}.json"


def _read_store(scope: str) -> dict[str, list[int | str]]:
    """The stored rows [device, inode, size, modified, changed, digest] by name; empty if damaged."""
    try:
        held = json.loads(_store_of(scope).read_bytes())
        if held["version"] != VERSION or held["scope"] != scope:
            return {}
        files: dict[str, list[int | str]] = held["files"]
        return files if all(len(row) == 6 for row in files.values()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_store(scope: str, rows: Mapping[str, list[int | str]]) -> None:
    """Replace the store in one step, so that concurrent processes read the old one or the new one whole.

    A cache that cannot be written only costs time: the files are read again.
    """
    path = _store_of(scope)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"version": VERSION, "scope": scope, "files": rows}))
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
