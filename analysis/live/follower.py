"""Follows a record that another process writes: each line is read once."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import LedgerError
from tuning.ledger.ledger import LEDGER
from tuning.ledger.lines import parse_line, read_lines

START = 64
"""Bytes of the start of a record that tell it from another one."""


@dataclass(frozen=True)
class NewRecords:
    """What has come since the last time.

    anew: whether it is another record than before, from its first line.
    """

    records: tuple[Any, ...]
    anew: bool


class Follower:
    """Reads the complete lines of a record that are new; a torn last line is left until it is whole."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._at = 0
        self._start = b""
        """The first bytes of the record, which hold when it began: another record begins otherwise."""
        self._seen: tuple[int, int, int] | None = None
        """Device, inode and size at the last look."""
        self._error: LedgerError | None = None
        """Why it could not be read further then."""

    def take(self) -> NewRecords:
        """The records since the last call.

        Raises LedgerError if the record cannot be read, or at a damaged line; those before it were returned.
        """
        try:
            found = self._path.stat()
            seen = (found.st_dev, found.st_ino, found.st_size)
            if seen == self._seen:
                if self._error is not None:
                    raise self._error
                return NewRecords((), anew=False)
            with self._path.open("rb") as file:
                start = file.read(START)
        except OSError as error:
            raise LedgerError(_cannot_read(self._path, error)) from error
        anew = not self._start or start != self._start or found.st_size < self._at
        if anew:
            self._at, self._start = 0, b""
        records, self._error = [], None
        try:
            for byte, line in read_lines(self._path, self._at, found.st_size):
                records.append(parse_line(self._path, byte, line))
                self._at = byte + len(line)
        except LedgerError as error:
            self._error = error
        self._seen = seen
        if self._at:
            self._start = start
        if self._error is not None and not records:
            raise self._error
        return NewRecords(tuple(records), anew and bool(records))


def _cannot_read(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} is gone: its folder was removed, renamed, or is no longer mounted"
    return f"cannot read {path}: {(error.strerror or str(error)).lower()}"
