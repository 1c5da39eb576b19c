"""The display of a board while a sweep runs: a live table, or lines without a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Event, RLock, Thread
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live

from analysis.query.floors import COLLAPSED
from trainables.specs.pack import WhyLanes
from tuning.cli.board import Board
from tuning.cli.console import print_lines
from tuning.cli.data_summary import error_count, prepared_line
from tuning.formatting import duration
from tuning.ledger.records import (
    AddedRecord,
    BaselineRecord,
    BuiltRecord,
    EndedRecord,
    OverBudgetRecord,
    PackingRecord,
    PreparedRecord,
    ReportRecord,
    ScoredRecord,
    ScoringRecord,
    SearchEndedRecord,
    UnsavedRecord,
    WarmStartRecord,
)
from tuning.ranking.best_so_far import BestTrial
from tuning.run.packs.decided import packing_in
from tuning.search.warm_start import describe_earlier_trials

QUIET_S = 20.0
"""Without a terminal: seconds between two lines about the progress."""
FIRST_LINE_S = 3.0
"""Seconds until it is said what a sweep waits for that has not begun."""
STARTING_S = 60.0
"""Seconds between two such lines; the preparation of data has lines or a bar of its own."""
BEAT_S = 1.0
ORDINARY = (WhyLanes.IMAGES, WhyLanes.MOST, WhyLanes.ASKED)
"""Reasons for a number of trials at once that need not be said before its gain."""


class Progress:
    """Shows a board while records come in: a live table on a terminal, else a line from time to time.

    live: False for lines on a terminal too.
    """

    def __init__(
        self, board: Board, console: Console, clock: Callable[[], float] = time.time, *, live: bool = True
    ) -> None:
        self.board = board
        self._wants_live = live and console.is_terminal
        self._console = console
        self._clock = clock
        self._began = self._reported = self._printed = clock()
        self._waits = True
        """Whether the data are not ready yet."""
        self._told = False
        self._best: BestTrial | None = None
        self._head: str | None = None
        self._told_packing: set[str] = set()
        self._live: Live | None = None
        self._lock = RLock()
        self._left = Event()
        self._thread = Thread(target=self._beats, name="progress", daemon=True)

    def __call__(self, record: Any) -> None:
        """Show the next record; a listener of `tuning.run.launch`."""
        with self._lock:
            self._show(record)

    def _show(self, record: Any) -> None:
        self.board.observe(record)
        self._waits = self._waits and not isinstance(record, PreparedRecord)
        if self._wants_live and self._live is None and isinstance(record, PreparedRecord):
            # Not before: the preparation has a bar of its own, and two would write over each other.
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=2, transient=False
            )
            self._live.start()
        if isinstance(record, PackingRecord):
            self._tell_packing(record)
        if self._live is None:
            self._report(record)

    def beat(self) -> None:
        """Print a line after a long silence: while Ray starts, data are prepared or images are scored."""
        with self._lock:
            now = self._clock()
            silent = abs(now - self._printed)
            if self._waits:
                # On a terminal the preparation draws a bar, which further lines would disturb.
                if silent >= (STARTING_S if self._told else FIRST_LINE_S) and not (
                    self._told and self._wants_live
                ):
                    still = "still " if self._told else ""
                    self._told = True
                    self._print(f"{still}starting Ray and preparing the data", since=self._began)
            elif self._live is None and silent >= QUIET_S and self.board.closed is None:
                self._print_summary(now)

    def _beats(self) -> None:
        while not self._left.wait(BEAT_S):
            self.beat()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        return self.board.view(self._clock())

    def _report(self, record: Any) -> None:
        now = self._clock()
        if isinstance(record, WarmStartRecord):
            for line in describe_earlier_trials(record):
                self._print(line)
        elif isinstance(record, PreparedRecord):
            faults = f"; {error_count(record.faults)}, see `adaptertune status`" if record.faults else ""
            if record.found:
                self._print(f"data.folder: {record.found}")
            self._print(f"data ready: {prepared_line(record.counts, record.boxes, record.crowds)}{faults}")
            for text in record.warnings:
                self._print(f"warning: {text}")
        elif isinstance(record, AddedRecord):
            by = f" by {record.by}" if record.by else ""
            place = f", {record.parent.told}" if record.parent is not None else ""
            self._print(f"added{by}: {json.dumps(record.params)}{place}")
        elif isinstance(record, BuiltRecord) and record.head not in (None, self._head):
            self._head = record.head
            self._print(f"trial {record.trial}: {record.head}")
        elif isinstance(record, BaselineRecord) and self.board.baseline is not None:
            self._print(f"pretrained baseline: {self.board.metric} {self.board.baseline:.4f}")
        elif isinstance(record, EndedRecord):
            self._print(self._end(record))
            best = self.board.best
            if best is not None and best != self._best:
                self._best = best
                lost = f", {COLLAPSED}" if self.board.best_has_collapsed else ""
                self._print(f"best so far: {self.board.metric} {best.value:.4f}, trial {best.trial}{lost}")
            if abs(now - self._reported) >= QUIET_S:
                self._print_summary(now)
        elif isinstance(record, ReportRecord) and abs(now - self._reported) >= QUIET_S:
            self._print_summary(now)
        elif isinstance(record, UnsavedRecord):
            self._print(f"trial {record.trial} could not be saved and continues: {record.reason}")
        elif isinstance(record, OverBudgetRecord):
            self._print(
                f"checkpoints take {record.bytes / 1e9:.3g} GB, more than checkpoints.budget_gb allows:"
                f" {record.reason}"
            )
        elif isinstance(record, SearchEndedRecord):
            self._print(f"nothing more is proposed: {record.reason}")
        elif isinstance(record, ScoringRecord):
            self._print(f"the search has ended; scoring {len(record.trials)} on test images")
        elif isinstance(record, ScoredRecord):
            self._print(self._scored(record))

    def _tell_packing(self, record: PackingRecord) -> None:
        """Say how many trials a worker takes once it is known what that gains, and when it takes fewer."""
        kind = record.why if record.timed is None else "gain"
        if (
            record.timed is None and record.lanes > 1 and record.why in ORDINARY
        ) or kind in self._told_packing:
            return
        self._told_packing.add(kind)
        self._print(f"packing: {packing_in(record).told}")

    def _scored(self, record: ScoredRecord) -> str:
        model = "the pretrained baseline" if record.trial is None else f"trial {record.trial}"
        if record.reason is not None:
            return f"{model} could not be scored on test images: {record.reason}"
        if record.latency_low_ms is not None:
            measured = (
                f"{record.latency_ms:.3g} ({record.latency_low_ms:.3g} to {record.latency_high_ms:.3g})"
            )
            return f"timed {model}: {measured} ms an image"
        done, of = self.board.scored or (0, 0)
        value = record.metrics.get(self.board.metric)
        metric = "" if value is None else f"  {self.board.metric} {value:.4f}"
        return f"scored {done} of {of} on test images: {model}{metric}"

    def _end(self, record: EndedRecord) -> str:
        value = "" if record.value is None else f"  {self.board.metric} {record.value:.4f}"
        at = (
            "" if record.epoch is None else f"  epoch {record.epoch:g} of {self.board.epochs(record.trial):g}"
        )
        reason = "" if not record.reason else f"  ({record.reason})"
        repeated = "" if record.of is None else f" of trial {record.of}"
        return f"trial {record.trial} {record.outcome}{repeated}{value}{at}{reason}"

    def _print_summary(self, now: float) -> None:
        self._reported = now
        self._print(self.board.summary(now))

    def _print(self, text: str, since: float | None = None) -> None:
        """Print a line with the time since the first trial began, or since another time."""
        now = self._printed = self._clock()
        stamp = duration(self.board.elapsed_s(now) if since is None else now - since)
        print_lines(self._console, f"[{stamp}] {text}")
