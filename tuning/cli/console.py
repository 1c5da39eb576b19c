"""How text and tables are printed on a terminal, in a pipe and in a log."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box, control
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from trainables.wording import CONTROLS

if TYPE_CHECKING:
    from analysis.query.sweep import Sweep
    from analysis.tables import Table


# Rich leaves the escape character in a text. Its table of what it takes out is private; checked with 15.0.
_TAKEN_OUT: dict[int, Any] = control._CONTROL_STRIP_TRANSLATE
_TAKEN_OUT.update(CONTROLS)

PIPED_WIDTH = 200
"""The number of columns without a terminal, so that nothing is cut off."""


class LastingConsole(Console):
    """A console of a command that works on: if its reader ends, it prints nothing more."""

    def on_broken_pipe(self) -> None:
        """Discard what is printed from now on. Rich would end the process, and the sweep with it."""
        self.quiet = True
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self.file.fileno())
        os.close(devnull)


def console(kind: type[Console] = Console, **options: Any) -> Console:
    """Standard output as it is now. options: of Rich's console."""
    out = kind(highlight=False, emoji=False, **options)
    if not out.is_terminal:
        out = kind(highlight=False, emoji=False, width=PIPED_WIDTH, **options)
    return out


def print_columns(
    out: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    numeric: Collection[int] = (),
    narrow: bool = False,
) -> None:
    """Print a table with its title and caption.

    numeric: the columns that are aligned to the right.  narrow: columns closer to each other.
    """
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0) if narrow else (0, 1), pad_edge=False)
    for place, column in enumerate(columns):
        right = place in numeric
        grid.add_column(Text(column), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    out.print(Text(title, style="bold"))
    out.print(grid)
    if caption:
        out.print(Text(caption, style="dim"))


def print_table(out: Console, table: Table) -> None:
    """Print an empty line, then a table of the analysis."""
    print_lines(out, "")
    print_columns(out, table.title, table.columns, table.rows, caption=table.caption, numeric=table.numeric)


def print_lines(out: Console, *texts: str, style: str | None = None) -> None:
    """Print text without markup, and without line breaks, so that commands can be copied."""
    for text in texts:
        out.print(Text(text), style=style, soft_wrap=True)


def failure_lines(sweep: Sweep, folder: Path, most: int = 10) -> list[str]:
    """A line for each failed or diverged trial, at most `most`, and for each trial without a test score."""
    from analysis.query import sweep as recorded
    from tuning.ledger.storage import shell_name  # pydantic

    return recorded.failure_lines(sweep, most, f"; see `adaptertune status {shell_name(folder)}`")
