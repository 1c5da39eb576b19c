"""A range of the record as rows of the tables, without the record before it. No ray, no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import parse_line, read_lines
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
"""What changes a trial."""

FirstBytes = Callable[[Collection[int]], Mapping[int, int]]
"""Where the lines of trials that started earlier begin in the record, for those that did."""


@dataclass(frozen=True)
class RowBatch:
    """The rows of the bytes from `start` up to `end`, by table.

    highest: the highest number of a trial up to there, -1 before the first.  open: the trials that
    have not ended there, and where the lines of each begin.
    """

    start: int
    end: int
    highest: int
    open: Mapping[int, int]
    rows: Mapping[str, list[Row]]


@dataclass
class Folding:
    """Follows a record and gives its rows range by range. Of trials that have ended it keeps nothing.

    at, highest, open: as the batch before it ended.
    """

    folder: Path
    experiment: Experiment
    history: History
    """Holds the trials that have not ended, and no others."""
    began: FirstBytes
    at: int = 0
    """How far the record is read, in bytes."""
    highest: int = -1
    open: dict[int, int] = field(default_factory=dict)

    def take(self, most: int | None = None) -> RowBatch:
        """The next whole lines, at most about so many bytes. Raises LedgerError for a damaged line."""
        start = self.at
        lines = list(read_lines(self.folder, start, None if most is None else start + most))
        records = [(byte, parse_line(self.folder, byte, line)) for byte, line in lines]
        end = start + sum(len(line) for _, line in lines)
        self._bring_back(records, start)
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
                self.history = self.history.with_record(record)
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

    def _bring_back(self, records: Iterable[tuple[int, object]], start: int) -> None:
        """Reads once more what the record says of trials that started before this range and go on in it."""
        named = {record.trial for _, record in records if isinstance(record, TrialRecord)}
        known = self.history.trials.keys()
        absent = {number for number in named if number not in known and number <= self.highest}
        unknown = absent - self.open.keys()
        self.open |= self.began(unknown) if unknown else {}
        absent &= self.open.keys()
        if not absent:
            return
        theirs = re.compile(rb'"trial": ?(?:%s)[,}]' % b"|".join(b"%d" % number for number in absent))
        for byte, line in read_lines(self.folder, min(self.open[n] for n in absent), start):
            if theirs.search(line) is None:
                continue
            record = parse_line(self.folder, byte, line)
            if isinstance(record, TrialRecord) and record.trial in absent:
                self.history = self.history.with_record(record)
