"""A board shown while a sweep runs: a live table, lines where there is no terminal. No ray, no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live

from tuning.cli.board import Board
from tuning.cli.console import lines
from tuning.formatting import duration
from tuning.ledger.records import (
    BaselineRecord,
    EndedRecord,
    OverBudgetRecord,
    PreparedRecord,
    ReportRecord,
    ScoredRecord,
    ScoringRecord,
    UnsavedRecord,
    WarmStartRecord,
)
from tuning.ranking.best_so_far import Best
from tuning.search.warm_start import in_words

QUIET_S = 20.0
"""Without a terminal: seconds between two lines on how far the sweep is."""


class Progress:
    """Shows a board while records come in: a live table on a terminal, else a line now and then.

    live: False for lines on a terminal too.
    """

    def __init__(
        self, board: Board, console: Console, clock: Callable[[], float] = time.time, *, live: bool = True
    ) -> None:
        self.board = board
        self._wants_live = live and console.is_terminal
        self._console = console
        self._clock = clock
        self._said = clock()
        self._best: Best | None = None
        self._live: Live | None = None

    def __call__(self, record: Any) -> None:
        """A listener of `tuning.run.launch`."""
        self.board.observe(record)
        if self._wants_live and self._live is None and isinstance(record, PreparedRecord):
            # Not before: the preparation has a bar of its own, and two would write over each other.
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=2, transient=False
            )
            self._live.start()
        if self._live is None:
            self._say(record)

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

    def _say(self, record: Any) -> None:
        now = self._clock()
        if isinstance(record, WarmStartRecord):
            for line in in_words(record):
                self._line(line)
        elif isinstance(record, PreparedRecord):
            parts = ", ".join(f"{n} {split}" for split, n in record.counts.items())
            faults = f"; {len(record.faults)} faults, see `adaptertune status`" if record.faults else ""
            self._line(f"data ready: {parts or 'no counts'}{faults}")
        elif isinstance(record, BaselineRecord) and self.board.baseline is not None:
            self._line(f"untouched backbone: {self.board.metric} {self.board.baseline:.4f}")
        elif isinstance(record, EndedRecord):
            self._line(self._end(record))
            best = self.board.best
            if best is not None and best != self._best:
                self._best = best
                self._line(f"best so far: {self.board.metric} {best.value:.4f}, trial {best.trial}")
            if abs(now - self._said) >= QUIET_S:
                self._pace(now)
        elif isinstance(record, ReportRecord) and abs(now - self._said) >= QUIET_S:
            self._pace(now)
        elif isinstance(record, UnsavedRecord):
            self._line(f"trial {record.trial} could not be saved, and trains on: {record.reason}")
        elif isinstance(record, OverBudgetRecord):
            self._line(
                f"checkpoints take {record.bytes / 1e9:.3g} GB, more than checkpoints.budget_gb allows:"
                f" {record.reason}"
            )
        elif isinstance(record, ScoringRecord):
            self._line(f"the search is over; scoring {len(record.trials)} on test images")
        elif isinstance(record, ScoredRecord):
            self._line(self._scored(record))

    def _scored(self, record: ScoredRecord) -> str:
        whose = "the untouched model" if record.trial is None else f"trial {record.trial}"
        if record.reason is not None:
            return f"{whose} could not be scored on test images: {record.reason}"
        done, of = self.board.scored or (0, 0)
        value = record.metrics.get(self.board.metric)
        figure = "" if value is None else f"  {self.board.metric} {value:.4f}"
        return f"scored {done} of {of} on test images: {whose}{figure}"

    def _end(self, record: EndedRecord) -> str:
        value = "" if record.value is None else f"  {self.board.metric} {record.value:.4f}"
        at = (
            "" if record.epoch is None else f"  epoch {record.epoch:g} of {self.board.epochs(record.trial):g}"
        )
        reason = "" if not record.reason else f"  ({record.reason})"
        again = "" if record.of is None else f" of trial {record.of}"
        return f"trial {record.trial} {record.outcome}{again}{value}{at}{reason}"

    def _pace(self, now: float) -> None:
        self._said = now
        self._line(self.board.summary(now))

    def _line(self, text: str) -> None:
        stamp = duration(self.board.elapsed_s(self._clock()))
        lines(self._console, f"[{stamp}] {text}")
