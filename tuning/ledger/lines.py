"""The lines of a record, each checked by itself: by its checksum, or by what it says if it has none.

Lines of records of before have no checksum. A record that begins without goes on with checksums from the line
`resumed` of the first driver that writes them; from there on a line without one is damaged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from trainables.errors import LedgerError
from tuning.experiment.space import config_hash
from tuning.ledger.checksum import CHECKSUM_BYTES, Checksum, checksum_of, ends_with_checksum
from tuning.ledger.parent import child_hash
from tuning.ledger.records import RECORDS, AddedRecord, StartedRecord

_CHUNK = 1 << 20
_KIND = re.compile(rb'"kind": ?"(\w{1,40})"')
_TRIAL = re.compile(rb'"trial": ?(\d{1,9})[,}]')


class DamagedLineError(LedgerError):
    """A line of the record is damaged. byte: where it begins.  what: how that shows."""

    def __init__(self, message: str, byte: int, what: str) -> None:
        super().__init__(message)
        self.byte = byte
        self.what = what


def read_lines(record: Path, start: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield (first byte, line) of each complete line that begins from `start` up to, but not at, `end`.

    record: the file.  start: where a line begins.  end: None for the current end of the record. A torn last
    line is passed over. Raises LedgerError if it cannot be read, and DamagedLineError for a wrong or missing
    checksum.
    """
    try:
        with record.open("rb") as file:
            end = os.fstat(file.fileno()).st_size if end is None else end
            before = _checked_before(file, start)
            file.seek(start)
            line = b""
            while start < end and (line := file.readline()).endswith(b"\n"):
                has = checksum_of(line)
                if has is Checksum.WRONG:
                    raise damaged(record, start, line, "its checksum does not match")
                checked = has is Checksum.RIGHT
                if before is not None and checked is not before:
                    if not checked:
                        raise damaged(record, start, line, "it has no checksum, as the lines before it have")
                    if not starts_checksums(line):
                        lost = _line_before(file, start)
                        raise damaged(record, start - len(lost), lost, "it has lost its checksum")
                yield start, line
                before = checked
                start += len(line)
            if start < end and checksum_of(line[:-1] + b"\n") is Checksum.RIGHT:
                raise damaged(record, start, line, "it does not end with a line break")
    except OSError as error:
        raise LedgerError(f"cannot read {record}: {error.strerror}") from error


def parse_line(record: Path, byte: int, line: bytes) -> Any:
    """The record in the line that begins at `byte`, as `read_lines` gave it.

    A line without a checksum is checked by the hash of its parameters. Raises DamagedLineError, and
    LedgerError for a line of a newer adaptertune.
    """
    try:
        found = RECORDS.validate_json(line)
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        if checksum_of(line) is Checksum.RIGHT:
            raise LedgerError(
                f"{record}, line {line_number(record, byte)}: {what}; its checksum is right, so a newer"
                " adaptertune wrote it. Update adaptertune"
            ) from error
        raise damaged(record, byte, line, what) from error
    if isinstance(found, StartedRecord | AddedRecord) and checksum_of(line) is Checksum.ABSENT:
        of = config_hash(found.params) if found.parent is None else child_hash(found.params, found.parent)
        if of != found.hash:
            raise damaged(record, byte, line, "its parameters do not have the hash that it says")
    return found


def damaged(record: Path, byte: int, line: bytes, what: str) -> DamagedLineError:
    """The error for a damaged line, with what is lost and the way out. what: how it shows."""
    number = line_number(record, byte)
    if byte == 0:
        way = (
            "Without it the record cannot be used."
            f" `adaptertune repair {quote(str(record.parent))}` restores it if a single bit is wrong; if it"
            " cannot, use a copy of the experiment"
        )
        return DamagedLineError(
            f"{record}, line 1 is damaged: {what}. It held the experiment. {way}", byte, what
        )
    return DamagedLineError(
        f"{record}, line {number} is damaged: {what}. Lost is {said_by(line)}. {repair(record.parent)}",
        byte,
        what,
    )


def inconsistent(record: Path, number: int, error: LedgerError) -> LedgerError:
    """The error for a line that contradicts those before it. number: of the line, from 1."""
    return LedgerError(f"{record}, line {number}: {error}. {repair(record.parent)}")


def repair(folder: Path) -> str:
    """The way out of a damaged record."""
    return (
        f"`adaptertune repair {quote(str(folder))}` writes a valid copy beside it and says what it leaves"
        " out; the record itself stays as it is"
    )


def starts_checksums(line: bytes) -> bool:
    """Whether a line may be the first one with a checksum in a record that begins without."""
    return b'"kind":"resumed"' in line


def said_by(line: bytes) -> str:
    """What a damaged line seems to be, in words."""
    kind, trial = _KIND.search(line), _TRIAL.search(line)
    found = "a line that cannot be recognized" if kind is None else f"a line '{kind[1].decode()}'"
    return found if trial is None else f"{found} of trial {int(trial[1])}"


def line_number(record: Path, byte: int) -> int:
    """The number, from 1, of the line that begins at `byte`."""
    number = 1
    with record.open("rb") as file:
        while byte > 0 and (chunk := file.read(min(byte, _CHUNK))):
            number += chunk.count(b"\n")
            byte -= len(chunk)
    return number


def last_line_start(record: Path) -> int:
    """Where the last complete line begins; 0 if there is none. Raises LedgerError if it cannot be read."""
    try:
        with record.open("rb") as file:
            at, found = file.seek(0, os.SEEK_END), b""
            while at > 0 and found.count(b"\n") < 2:
                size = min(at, _CHUNK)
                at -= size
                file.seek(at)
                found = file.read(size) + found
    except OSError as error:
        raise LedgerError(f"cannot read {record}: {error.strerror}") from error
    return at + found.rfind(b"\n", 0, max(0, found.rfind(b"\n"))) + 1


def _checked_before(file: Any, start: int) -> bool | None:
    """Whether the line before `start` has a checksum; None if there is no such line."""
    if start == 0:
        return None
    begin = max(0, start - CHECKSUM_BYTES)
    file.seek(begin)
    return ends_with_checksum(file.read(start - begin))


def _line_before(file: Any, start: int) -> bytes:
    """The line that ends at `start`."""
    begin, found = start, b""
    while begin > 0 and b"\n" not in found[:-1]:
        size = min(begin, _CHUNK)
        begin -= size
        file.seek(begin)
        found = file.read(start - begin)
    return found[found.rfind(b"\n", 0, -1) + 1 :]
