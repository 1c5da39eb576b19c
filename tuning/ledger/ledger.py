"""The append-only record of an experiment, `ledger.jsonl`: the single source of truth.

It has one JSON object per line (`tuning.ledger.records`) and one writer: the driver with the newest attempt
number (`tuning.ledger.attempts`). Each record is written by a single unbuffered write before it takes effect,
so it survives the death of the driver. A line that was torn by a crash is removed when the ledger is next
opened; readers skip it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainables.durable import sync_folder
from trainables.errors import LedgerError, StorageError, SupersededError
from tuning.ledger.attempts import FOLDER as ATTEMPTS
from tuning.ledger.attempts import Attempt, newest_claim
from tuning.ledger.checksum import with_checksum
from tuning.ledger.driver_state import LOCK, wait_until_gone, wait_until_stopped
from tuning.ledger.history import History
from tuning.ledger.lines import inconsistent, last_line_start, parse_line, read_lines
from tuning.ledger.records import SCHEMA, ExperimentRecord, Record

if TYPE_CHECKING:  # imported only by writers: readers do not need it, and it is slow to import
    from filelock import FileLock

LEDGER = "ledger.jsonl"
DRIVER_LOG = "driver.log"
"""The output of a driver in the background."""
RAY_LOG = "ray.log"
"""Ray's output in the driver process."""
LEFTOVERS = frozenset({LOCK, DRIVER_LOG, RAY_LOG})
"""Files that a launch may leave if it fails early; a folder with only these counts as empty."""

# --- writing ----------------------------------------------------------------------------------


class Ledger:
    """The single writer of an experiment's record, until it is closed or superseded; a context manager.

    It holds a lock, which refuses a second driver of this machine, and an attempt number, which refuses it on
    any machine: before each line it looks whether there is a newer attempt, and whether the file is as it
    left it.
    """

    def __init__(self, folder: Path, lock: FileLock, attempt: Attempt, flags: int = 0) -> None:
        """See `create` and `open`. flags: for opening the file, besides appending to it."""
        self.folder = folder
        self.durable = False
        """Whether each line is on the disk before it takes effect, and not with the operating system only."""
        self._path = folder / LEDGER
        self._lock = lock
        self._attempt = attempt
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | flags, 0o644)
        found = os.fstat(self._descriptor)
        self._file, self._size = (found.st_dev, found.st_ino), found.st_size
        self._superseded = False

    @classmethod
    def create(cls, folder: Path, header: ExperimentRecord, *, durable: bool = False) -> Self:
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
        with _locked(folder) as lock:
            os.close(os.open(folder / LEDGER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            try:
                ledger = cls(folder, lock, Attempt.claim(folder))
                ledger.durable = durable
                try:
                    ledger.append(header)
                    if durable:
                        sync_folder(folder)
                except BaseException:
                    ledger.close()
                    raise
            except BaseException:
                (folder / LEDGER).unlink(missing_ok=True)
                shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)
                raise
        return ledger

    @classmethod
    def open(
        cls, folder: Path, sleep: Callable[[float], None] = time.sleep, *, take_over: bool = False
    ) -> Self:
        """Open an existing record to continue it; a torn last line is removed.

        Waits up to half a minute for a sign of life of the last driver, if that was on another machine and
        did not end in an orderly way. Raises LedgerError if there is no record, another driver writes it, or
        its end is damaged.

        take_over: end a driver that runs in place of being refused: claim the next attempt, by which it knows
        that it may write no more, wait until it has stopped or is silent, and take its lock away.
        """
        if not (folder / LEDGER).is_file():
            raise LedgerError(f"{folder} contains no experiment: {LEDGER} is missing")
        before = newest_claim(folder) if take_over else None  # a driver of before knows no attempts
        if before is not None:
            _whole_bytes(folder / LEDGER)  # a damaged one is refused before it costs a driver
            attempt = _claimed(folder)
            try:
                wait_until_stopped(folder, before, sleep)
                with _locked(folder, take_away=True) as lock:
                    return cls._continued(folder, lock, attempt)
            except BaseException:
                attempt.end()
                raise
        with _locked(folder) as lock:
            if not wait_until_gone(folder, sleep):
                raise LedgerError(_another(folder))
            _whole_bytes(folder / LEDGER)
            attempt = _claimed(folder)
            try:
                return cls._continued(folder, lock, attempt)
            except BaseException:
                attempt.end()
                raise

    @classmethod
    def _continued(cls, folder: Path, lock: FileLock, attempt: Attempt) -> Self:
        """Raises LedgerError if yet another driver has taken over meanwhile, or the end is damaged."""
        if attempt.superseded():
            raise LedgerError(_another(folder))
        os.truncate(folder / LEDGER, _whole_bytes(folder / LEDGER))
        return cls(folder, lock, attempt)

    @property
    def attempt(self) -> int:
        """The number of this driver's attempt; the first one is 1."""
        return self._attempt.number

    def superseded(self) -> bool:
        """Whether another driver has taken over; nothing may be written then."""
        self._superseded = self._superseded or self._attempt.superseded()
        return self._superseded

    def require_ours(self) -> None:
        """Raise SupersededError if there is a newer attempt, or the record is not as this driver left it."""
        try:
            found = os.stat(self._path)
            left = (found.st_dev, found.st_ino) == self._file and found.st_size == self._size
        except FileNotFoundError:
            left = False
        except OSError as error:
            raise StorageError(_cannot_write(self.folder, error)) from error
        if left and not self.superseded():
            return
        self._superseded = True
        raise SupersededError(self._why_superseded())

    def _why_superseded(self) -> str:
        newest = newest_claim(self.folder)
        if newest is not None and newest.number > self.attempt:
            who = "another driver" if newest.driver is None else newest.driver.told
            why = f"{who} has taken over as attempt {newest.number}"
        elif self._path.exists():
            why = f"{self._path} is not as this driver left it, so something else writes it"
        else:
            why = f"{self._path} is gone"
        return (
            f"this driver of {self.folder.name}, attempt {self.attempt}, may write no more: {why}. It stops;"
            " what it had recorded is kept"
        )

    def append(self, record: Record) -> None:
        """Append one line in a single write.

        Raises StorageError if the disk is full or read-only; the record then ends with the previous line.
        Raises SupersededError if another driver has taken over.
        """
        self.require_ours()
        line = with_checksum(record.model_dump_json(by_alias=True).encode())
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.durable:
                os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):  # on a disk that became read-only; `open` removes the torn line
                os.ftruncate(self._descriptor, self._size)
            raise StorageError(_cannot_write(self.folder, error)) from error
        self._size += len(line)

    def close(self) -> None:
        """Close the file, end the heartbeat and release the lock; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._attempt.end()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _locked(folder: Path, *, take_away: bool = False) -> Iterator[FileLock]:
    """The lock of the driver, which is released if what follows fails. Raises LedgerError, StorageError.

    take_away: if another driver holds it, put a new file in place of its file.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        # A reader holds the lock for a moment while it checks whether a driver is alive.
        try:
            lock.acquire(timeout=0.5 if take_away else 2.0, poll_interval=0.05)
        except Timeout:
            if not take_away:
                raise
            (folder / LOCK).unlink(missing_ok=True)
            lock.acquire(timeout=2.0, poll_interval=0.05)
    except Timeout as error:
        raise LedgerError(_another(folder)) from error
    except OSError as error:
        lock.release()
        raise StorageError(_cannot_write(folder, error)) from error
    try:
        yield lock
    except OSError as error:
        lock.release()
        raise StorageError(_cannot_write(folder, error)) from error
    except BaseException:
        lock.release()
        raise


def _another(folder: Path) -> str:
    claim = newest_claim(folder)
    who = f" ({claim.driver.told})" if claim is not None and claim.driver is not None else ""
    return (
        f"another driver is running {folder.name}{who}; watch it with"
        f" `adaptertune status {quote(str(folder))}` or end it with `adaptertune stop {quote(str(folder))}`"
    )


def _claimed(folder: Path) -> Attempt:
    """The claim of the next attempt. Raises LedgerError, StorageError."""
    try:
        return Attempt.claim(folder, above=_last_attempt(folder))
    except OSError as error:
        raise StorageError(_cannot_write(folder, error)) from error


def _whole_bytes(record: Path) -> int:
    """The bytes of a record without a torn last line. Raises LedgerError if its end is damaged."""
    start = last_line_start(record)
    return start + sum(len(line) for _, line in read_lines(record, start))


def _last_attempt(folder: Path) -> int:
    """The last attempt that the record names, if the files of claims are gone; 0 if there is none."""
    if newest_claim(folder) is not None:
        return 0
    found = [0]
    for _, line in read_lines(folder / LEDGER, 0):
        if b'"attempt":' in line and (match := re.search(rb'"attempt":(\d{1,9})[,}]', line)) is not None:
            found.append(int(match[1]))
    return max(found)


def _cannot_write(folder: Path, error: OSError) -> str:
    what = {errno.ENOSPC: "the disk is full", errno.EROFS: "the disk is read-only"}.get(
        error.errno or 0, error.strerror or str(error)
    )
    return (
        f"cannot write the record in {folder}: {what}; what was recorded so far is kept."
        " Another storage folder is --storage DIR, in Python storage=DIR"
    )


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
