"""A sweep's table while it runs: in a notebook's output, on a terminal, or as lines."""

from __future__ import annotations

import io
import logging
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from importlib import import_module
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console

from tuning.cli.board import Board
from tuning.cli.console import LastingConsole, console
from tuning.cli.progress import Progress

REFRESH_S = 1.0
"""Seconds between two updates of a table in a notebook."""
WIDTH = 110
"""Characters in a line of a table in a notebook."""
_HTML = (
    '<pre style="white-space: pre; overflow-x: auto; line-height: 1.3;'
    " font-family: Menlo, 'DejaVu Sans Mono', Consolas, 'Courier New', monospace\">{code}</pre>"
)


class Shown(Protocol):
    """The handle of a displayed value, which can be replaced in the cell's output."""

    def update(self, what: object) -> None:
        """Replace it."""
        ...


Display = Callable[[object], Shown]
"""Displays a value and returns its handle."""


def table_of(board: Board, *, live: bool) -> AbstractContextManager[Callable[[Any], None]]:
    """Show the board as records come: in a notebook or on a terminal as one table, updated in place.

    live: False prints lines everywhere.
    """
    if live and (display := notebook_display()) is not None:
        return NotebookTable(board, display)
    # Text in a notebook too, where Rich would make an output of each line.
    return Progress(board, console(LastingConsole, force_jupyter=False), live=live)


def notebook_display() -> Display | None:
    """How a running notebook displays a value; None outside a notebook. Imports nothing new."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "kernel", None) is None:  # the second in a terminal's IPython
        return None
    display: Any = import_module("IPython.display").display
    return lambda what: display(what, display_id=True)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Snapshot:
    """The table at one time, as text and as HTML."""

    text: str
    html: str

    @classmethod
    def of(cls, board: Board, now: float) -> Self:
        """The board at the time `now`. Rich escapes its content."""
        out = Console(
            record=True, file=io.StringIO(), width=WIDTH, highlight=False, emoji=False, force_jupyter=False
        )
        out.print(board.view(now))
        html = out.export_html(inline_styles=True, code_format=_HTML, clear=False)
        return cls(out.export_text(), html)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


class NotebookTable:
    """The board as one output of a notebook's cell, updated in place once a second.

    An error of the display is ignored: the sweep continues without it.
    """

    def __init__(self, board: Board, display: Display, clock: Callable[[], float] = time.time) -> None:
        self.board = board
        self._display = display
        self._clock = clock
        self._lock = Lock()
        self._left = Event()
        self._shown: Shown | None = None
        # With the context of the cell: newer kernels find the cell that an output belongs to there.
        self._thread = Thread(
            target=copy_context().run, args=(self._refresh,), name="live table", daemon=True
        )

    def __call__(self, record: Any) -> None:
        """Add the next record."""
        with self._lock:
            self.board.observe(record)

    def __enter__(self) -> Self:
        _without_hints()
        with suppress(Exception):
            self._shown = self._display(Snapshot.of(self.board, self._clock()))
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._shown is not None:
            self._thread.join()
            self._update()

    def _refresh(self) -> None:
        while not self._left.wait(REFRESH_S):
            self._update()

    def _update(self) -> None:
        with suppress(Exception):
            with self._lock:
                now = Snapshot.of(self.board, self._clock())
            assert self._shown is not None
            self._shown.update(now)


def _without_hints() -> None:
    """Ray and tqdm recommend ipywidgets in a notebook, for tables and bars that are not shown here."""
    logging.getLogger("ray.widgets").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="IProgress not found")
