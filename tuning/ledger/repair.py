"""What can be kept of a damaged record, so that it is a valid record again: pure functions of its bytes.

A line with a single flipped bit is restored by its checksum. Any other damaged line is left out, and with it
every later line that cannot stand without it: those of a trial whose start is lost, of trials that began with
that one, and an end that does not fit the reports that are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trainables.errors import LedgerError
from tuning.experiment.space import config_hash
from tuning.ledger.checksum import Checksum, checksum_of, with_checksum
from tuning.ledger.history import History
from tuning.ledger.lines import said_by, starts_checksums
from tuning.ledger.mending import mended
from tuning.ledger.outcomes import NOT_OVER
from tuning.ledger.parent import child_hash
from tuning.ledger.records import (
    RECORDS,
    AddedRecord,
    BuiltRecord,
    EndedRecord,
    ExperimentRecord,
    PausedRecord,
    RemovedRecord,
    ReportRecord,
    ScoredRecord,
    ScoringRecord,
    StartedRecord,
    StoppedRecord,
    UnpausedRecord,
    UnsavedRecord,
)

_BROKEN_LINE_BREAK = re.compile(rb',"crc":"[0-9a-f]{8}"\}[^\n](?=\{)')
_OF_A_TRIAL = (
    BuiltRecord | ReportRecord | StoppedRecord | EndedRecord | RemovedRecord | UnsavedRecord | ScoredRecord
    | PausedRecord | UnpausedRecord
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A line that is not kept as it is. number: from 1.  what: the line, in words.  why: the reason."""

    number: int
    what: str
    why: str


@dataclass(frozen=True)
class Repaired:
    """What is kept of a record. lines: with their line breaks, each with a checksum."""

    lines: tuple[bytes, ...]
    history: History
    restored: tuple[Change, ...] = ()
    left_out: tuple[Change, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether there was anything to repair."""
        return bool(self.restored or self.left_out)

    @property
    def lost_trials(self) -> tuple[int, ...]:
        """The numbers below the highest one of which no trial is left."""
        kept = self.history.trials
        return tuple(number for number in range(max(kept, default=-1) + 1) if number not in kept)


def repaired(content: bytes) -> Repaired:
    """Repair a record. content: its bytes; a torn last line is passed over, as by all readers.

    Raises LedgerError if the first line, which holds the experiment, cannot be restored.
    """
    lines = _split(content)
    if lines and not lines[-1].content.endswith(b"\n") and _as_written(lines[-1].content) is None:
        lines.pop()
    begins = _checksums_begin(lines)
    kept: list[bytes] = []
    restored: list[Change] = []
    left_out: list[Change] = []
    history: History | None = None
    for each in lines:
        number, line = each.number, each.content
        found = _examined(line, checked=begins is not None and number > begins)
        if each.joined:
            restored.append(Change(number, said_by(line), "its line break was lost"))
        if found.why is not None and (whole := _as_written(line)) is not None:
            restored.append(Change(number, said_by(whole), found.why))
            found = _examined(whole, checked=True)
        what = said_by(line)
        if history is None:
            if not isinstance(found.record, ExperimentRecord):
                raise LedgerError(
                    "the first line, which holds the experiment, cannot be restored, and without it there is"
                    " nothing to repair; restore it from a copy, or launch the experiment again"
                )
            history = History(found.record)
        elif found.record is None:
            left_out.append(Change(number, what, str(found.why)))
            continue
        else:
            why = _cannot_follow(history, found.record)
            if why is None:
                try:
                    history = history.with_read(found.record)
                except LedgerError as error:
                    why = str(error)
            if why is not None:
                left_out.append(Change(number, what, why))
                continue
        kept.append(found.line)
    if history is None:
        raise LedgerError("the record is empty; there is nothing to repair")
    return Repaired(tuple(kept), history, tuple(restored), tuple(left_out))


@dataclass(frozen=True)
class _Examined:
    """A line as it is kept, and its record; or why it is damaged."""

    line: bytes
    record: Any = None
    why: str | None = None


def _examined(line: bytes, *, checked: bool) -> _Examined:
    """Examine one line by itself. checked: whether it must have a checksum."""
    has = checksum_of(line)
    if has is Checksum.WRONG or (checked and has is Checksum.ABSENT):
        absent = "it has no checksum, as the lines before it have"
        return _Examined(line, why=absent if has is Checksum.ABSENT else "its checksum does not match")
    if not line.endswith(b"\n"):
        return _Examined(line, why="it does not end with a line break")
    try:
        record = RECORDS.validate_json(line)
    except ValidationError as error:
        return _Examined(line, why=error.errors()[0]["msg"])
    if has is Checksum.ABSENT:
        if isinstance(record, StartedRecord | AddedRecord) and record.hash != _hash_of(record):
            return _Examined(line, why="its parameters do not have the hash that it says")
        line = with_checksum(line.rstrip())
    return _Examined(line, record)


def _hash_of(record: StartedRecord | AddedRecord) -> str:
    return config_hash(record.params) if record.parent is None else child_hash(record.params, record.parent)


def _as_written(line: bytes) -> bytes | None:
    """A line with a flipped bit as it was written; None if it cannot be known."""
    whole = mended(line)
    if whole is None:
        return None
    try:
        RECORDS.validate_json(whole)
    except ValidationError:
        return None
    return whole


def _checksums_begin(lines: list[_Line]) -> int | None:
    """How many lines come before those with checksums; None if no line has one."""
    first = next((line for line in lines if checksum_of(line.content) is Checksum.RIGHT), None)
    if first is None:
        return None
    begins_without = checksum_of(lines[0].content) is Checksum.ABSENT and starts_checksums(first.content)
    return first.number - 1 if begins_without else 0


@dataclass(frozen=True)
class _Line:
    """A line with its line break. number: in the file.  joined: the file has none between it and the next."""

    number: int
    content: bytes
    joined: bool = False


def _split(content: bytes) -> list[_Line]:
    """The lines of a file, also where the line break after a checksum was damaged."""
    *whole, last = content.split(b"\n")
    found: list[_Line] = []
    for number, line in enumerate([*(each + b"\n" for each in whole), last], start=1):
        at = 0
        for broken in _BROKEN_LINE_BREAK.finditer(line):
            found.append(_Line(number, line[at : broken.end() - 1] + b"\n", joined=True))
            at = broken.end()
        if line[at:]:
            found.append(_Line(number, line[at:]))
    return found


def _cannot_follow(history: History, record: Any) -> str | None:
    """Why a valid line cannot stand after those that are kept; None if it can."""
    return next(_reasons(history, record), None)


def _reasons(history: History, record: Any) -> Iterator[str]:
    known = history.trials
    if isinstance(record, ExperimentRecord):
        yield "the record has begun before"
    if isinstance(record, _OF_A_TRIAL) and record.trial is not None:
        trial = known.get(record.trial)
        if trial is None:
            yield f"the start of trial {record.trial} is lost"
        elif trial.ended is not None and isinstance(record, BuiltRecord | ReportRecord):
            yield f"the line is lost with which trial {record.trial} started again"
        elif trial.outcome not in NOT_OVER and isinstance(record, StoppedRecord | EndedRecord):
            yield f"trial {record.trial} had ended, and the line is lost with which it started again"
    if isinstance(record, EndedRecord) and record.of is not None and record.of not in known:
        yield f"trial {record.of}, whose result it takes, is lost"
    if isinstance(record, StartedRecord | AddedRecord) and record.parent is not None:
        parent = record.parent
        for number in (parent.trial, parent.instead_of):
            if number is not None and number not in known:
                yield f"trial {number}, which it refers to, is lost"
    if isinstance(record, ScoringRecord):
        lost = [number for number in record.trials if number is not None and number not in known]
        if lost:
            yield f"trial {lost[0]}, which it names, is lost"
