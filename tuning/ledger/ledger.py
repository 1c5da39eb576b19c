"""The append-only record of an experiment, `ledger.jsonl`: the single source of truth.

It has one JSON object per line (`tuning.ledger.records`) and one writer, which holds `driver.lock`. Each
record is written by a single unbuffered write before it takes effect, so it survives the death of the
driver. A line that was torn by a crash is removed when the ledger is next opened; readers skip it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainables.errors import LedgerError, StorageError
from tuning.ledger.checksum import with_checksum
from tuning.ledger.history import History
from tuning.ledger.lines import inconsistent, last_line_start, parse_line, read_lines
from tuning.ledger.records import SCHEMA, ExperimentRecord, Record

if TYPE_CHECKING:  # imported only by writers: readers do not need it, and it is slow to import
    from filelock import FileLock

LEDGER = "ledger.jsonl"
LOCK = "driver.lock"
DRIVER_LOG = "driver.log"
"""The output of a driver in the background."""
RAY_LOG = "ray.log"
"""Ray's output in the driver process."""
LEFTOVERS = frozenset({LOCK, DRIVER_LOG, RAY_LOG})
"""Files that a launch may leave if it fails early; a folder with only these counts as empty."""

# --- writing ----------------------------------------------------------------------------------


class Ledger:
    """The single writer of an experiment's record. Holds the lock until closed; a context manager."""

    def __init__(self, folder: Path, descriptor: int, lock: FileLock) -> None:
        self.folder = folder
        self._descriptor = descriptor
        self._lock = lock

    @classmethod
    def create(cls, folder: Path, header: ExperimentRecord) -> Self:
        """Create the record of a new experiment in `folder`, which must be new, or empty except `LEFTOVERS`.

        Raises StorageError if the folder contains anything else, or cannot be written.
        """
        if folder.is_dir() and any(path.name not in LEFTOVERS for path in folder.iterdir()):
            raise StorageError(f"{folder} already exists; choose another name")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (DRIVER_LOG, RAY_LOG):
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(_cannot_write(folder, error)) from error
        ledger = cls._locked(folder, os.O_CREAT | os.O_EXCL)
        try:
            ledger.append(header)
        except StorageError:
            ledger.close()
            (folder / LEDGER).unlink(missing_ok=True)
            raise
        return ledger

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open an existing record to continue it; a torn last line is removed.

        Raises LedgerError if it does not exist, another driver writes it, or its end is damaged.
        """
        if not (folder / LEDGER).is_file():
            raise LedgerError(f"{folder} contains no experiment: {LEDGER} is missing")
        ledger = cls._locked(folder, 0)
        try:
            ledger._cut_torn_line()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _cut_torn_line(self) -> None:
        """Remove a torn last line. Raises LedgerError if it is whole, but its line break is damaged."""
        path = self.folder / LEDGER
        start = last_line_start(path)
        end = start + sum(len(line) for _, line in read_lines(path, start))
        if end < path.stat().st_size:
            os.truncate(path, end)

    @classmethod
    def _locked(cls, folder: Path, flags: int) -> Self:
        from filelock import FileLock, Timeout

        lock = FileLock(folder / LOCK)
        try:
            # A reader holds the lock for a moment while it checks whether a driver is alive.
            lock.acquire(timeout=2.0, poll_interval=0.05)
            return cls(folder, os.open(folder / LEDGER, os.O_WRONLY | os.O_APPEND | flags, 0o644), lock)
        except Timeout as error:
            raise LedgerError(
                f"another driver is running {folder.name}; watch it with"
                f" `adaptertune status {quote(str(folder))}` or end it with"
                f" `adaptertune stop {quote(str(folder))}`"
            ) from error
        except OSError as error:
            lock.release()
            raise StorageError(_cannot_write(folder, error)) from error

    def append(self, record: Record) -> None:
        """Append one line in a single write.

        Raises StorageError if the disk is full or read-only; the record then ends with the previous line.
        """
        line = with_checksum(record.model_dump_json(by_alias=True).encode())
        before = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):  # on a disk that became read-only; `open` removes the torn line
                os.ftruncate(self._descriptor, before)
            raise StorageError(_cannot_write(self.folder, error)) from error

    def close(self) -> None:
        """Close the file and release the lock; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cannot_write(folder: Path, error: OSError) -> str:
    what = {errno.ENOSPC: "the disk is full", errno.EROFS: "the disk is read-only"}.get(
        error.errno or 0, error.strerror or str(error)
    )
    return (
        f"cannot write the record in {folder}: {what}; what was recorded so far is kept."
        " Another storage folder is --storage DIR, in Python storage=DIR"
    )


def driver_alive(folder: Path) -> bool:
    """Whether a driver is writing this experiment's record now."""
    if not (folder / LOCK).exists():
        return False
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


# --- reading ----------------------------------------------------------------------------------


def read_records(folder: Path) -> Iterator[Any]:
    """Yield the records in order, without a torn last line.

    Raises LedgerError for a missing file, and for a damaged line with its number.
    """
    record = folder / LEDGER
    for byte, line in read_lines(record, 0):
        yield parse_line(record, byte, line)


def read_history(folder: Path, records: Iterable[Any] | None = None) -> History:
    """The whole record as values. Raises LedgerError if it is missing or damaged.

    records: the result of `read_records`, if it was called before.
    """
    records = iter(read_records(folder) if records is None else records)
    history = History(_header(folder, next(records, None)))
    for number, record in enumerate(records, start=2):
        try:
            history = history.with_read(record)
        except LedgerError as error:
            raise inconsistent(folder / LEDGER, number, error) from error
    return history


def read_header(folder: Path) -> ExperimentRecord:
    """The record's first line. Raises LedgerError as `read_history` does."""
    record = folder / LEDGER
    line = next(read_lines(record, 0), None)
    return _header(folder, None if line is None else parse_line(record, *line))


def last_record(folder: Path) -> Any:
    """The last complete line, as a record; None of an empty record. Raises LedgerError if it is damaged."""
    path = folder / LEDGER
    found = None
    for byte, line in read_lines(path, last_line_start(path)):
        found = parse_line(path, byte, line)
    return found


def _header(folder: Path, first: Any) -> ExperimentRecord:
    if not isinstance(first, ExperimentRecord):
        raise LedgerError(f"{folder / LEDGER} does not begin with the experiment; it cannot be used")
    if first.version > SCHEMA:
        raise LedgerError(
            f"{folder / LEDGER} has schema version {first.version}, but this adaptertune reads versions up to"
            f" {SCHEMA}; update adaptertune"
        )
    return first
