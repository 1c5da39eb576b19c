"""A range of the record as rows of the tables, without reading the record before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainables.errors import LedgerError
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER
from tuning.ledger.lines import inconsistent, line_number, parse_line, read_lines
from tuning.ledger.records import (
    BuiltRecord,
    EndedRecord,
    ReportRecord,
    ScoredRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.tables.rows import TABLES, Row, epoch_row, event_row, score_row, trial_row

TrialRecord = StartedRecord | BuiltRecord | ReportRecord | StoppedRecord | EndedRecord
"""The records that change a trial."""

FirstBytes = Callable[[Collection[int]], Mapping[int, int]]
"""For the given trials, the first byte of each one's lines in the record; only of those that have lines."""


@dataclass(frozen=True)
class RowBatch:
    """The rows of the record's bytes from `start` up to `end`, by table.

    highest: the highest number of a trial so far, -1 before the first.  open: the trials that have not
    ended at `end`, each with the first byte of its lines.
    """

    start: int
    end: int
    highest: int
    open: Mapping[int, int]
    rows: Mapping[str, list[Row]]


@dataclass
class Folding:
    """Follows a record and returns its rows range by range. It keeps nothing of trials that have ended.

    at, highest, open: as at the end of the previous batch.
    """

    folder: Path
    experiment: Experiment
    history: History
    """Contains only the trials that have not ended."""
    began: FirstBytes
    at: int = 0
    """The number of bytes read so far."""
    highest: int = -1
    open: dict[int, int] = field(default_factory=dict)

    def take(self, most: int | None = None) -> RowBatch:
        """The rows of the next complete lines, about `most` bytes. Raises LedgerError for a damaged line."""
        start = self.at
        lines = list(read_lines(self.folder / LEDGER, start, None if most is None else start + most))
        records = [(byte, parse_line(self.folder / LEDGER, byte, line)) for byte, line in lines]
        end = start + sum(len(line) for _, line in lines)
        self._reload(records, start)
        rows: dict[str, list[Row]] = {table: [] for table in TABLES}
        touched: dict[int, None] = {}
        for byte, record in records:
            if isinstance(record, ReportRecord):
                before = self.history.trials.get(record.trial)
                replaces = before is not None and any(r.epoch >= record.epoch for r in before.reports[-1:])
                rows["epochs"].append(epoch_row(record, byte=byte, replaces=replaces))
            else:
                rows["events"].append(event_row(record, byte=byte))
            if isinstance(record, ScoredRecord):
                rows["scores"].append(score_row(record, byte=byte))
            if isinstance(record, TrialRecord):
                self._follow(byte, record)
                self.open.setdefault(record.trial, byte)
                self.highest = max(self.highest, record.trial)
                touched[record.trial] = None
        for number in touched:
            trial = self.history.trials[number]
            rows["trials"].append(trial_row(trial, self.experiment, from_byte=self.open[number], upto=end))
            if trial.ended is not None:
                del self.history.trials[number], self.open[number]
        self.at = end
        return RowBatch(start, end, self.highest, dict(self.open), rows)

    def _reload(self, records: Iterable[tuple[int, object]], start: int) -> None:
        """Read the earlier records of trials that started before this range and continue in it."""
        named = {record.trial for _, record in records if isinstance(record, TrialRecord)}
        known = self.history.trials.keys()
        absent = {number for number in named if number not in known and number <= self.highest}
        unknown = absent - self.open.keys()
        self.open |= self.began(unknown) if unknown else {}
        absent &= self.open.keys()
        if not absent:
            return
        theirs = re.compile(rb'"trial": ?(?:%s)[,}]' % b"|".join(b"%d" % number for number in absent))
        for byte, line in read_lines(self.folder / LEDGER, min(self.open[n] for n in absent), start):
            if theirs.search(line) is None:
                continue
            record = parse_line(self.folder / LEDGER, byte, line)
            if isinstance(record, TrialRecord) and record.trial in absent:
                self._follow(byte, record)

    def _follow(self, byte: int, record: TrialRecord) -> None:
        """Take a record over. Raises LedgerError if it contradicts those before it. byte: of its line."""
        try:
            self.history = self.history.with_read(record)
        except LedgerError as error:
            path = self.folder / LEDGER
            raise inconsistent(path, line_number(path, byte), error) from error
