"""The display of a board while a sweep runs: a live table, or lines without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live

from tuning.cli.board import Board
from tuning.cli.console import print_lines
from tuning.cli.data_summary import error_count, prepared_line
from tuning.formatting import duration
from tuning.ledger.records import (
    BaselineRecord,
    BuiltRecord,
    EndedRecord,
    OverBudgetRecord,
    PreparedRecord,
    ReportRecord,
    ScoredRecord,
    ScoringRecord,
    UnsavedRecord,
    WarmStartRecord,
)
from tuning.ranking.best_so_far import BestTrial
from tuning.search.warm_start import describe_earlier_trials

QUIET_S = 20.0
"""Without a terminal: seconds between two lines about the progress."""


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
        self._reported = clock()
        self._best: BestTrial | None = None
        self._head: str | None = None
        self._live: Live | None = None

    def __call__(self, record: Any) -> None:
        """Show the next record; a listener of `tuning.run.launch`."""
        self.board.observe(record)
        if self._wants_live and self._live is None and isinstance(record, PreparedRecord):
            # Not before: the preparation has a bar of its own, and two would write over each other.
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=2, transient=False
            )
            self._live.start()
        if self._live is None:
            self._report(record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            self._print(f"data ready: {prepared_line(record.counts, record.boxes, record.crowds)}{faults}")
            for text in record.warnings:
                self._print(f"warning: {text}")
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
                self._print(f"best so far: {self.board.metric} {best.value:.4f}, trial {best.trial}")
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
        elif isinstance(record, ScoringRecord):
            self._print(f"the search has ended; scoring {len(record.trials)} on test images")
        elif isinstance(record, ScoredRecord):
            self._print(self._scored(record))

    def _scored(self, record: ScoredRecord) -> str:
        model = "the pretrained baseline" if record.trial is None else f"trial {record.trial}"
        if record.reason is not None:
            return f"{model} could not be scored on test images: {record.reason}"
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

    def _print(self, text: str) -> None:
        stamp = duration(self.board.elapsed_s(self._clock()))
        print_lines(self._console, f"[{stamp}] {text}")
