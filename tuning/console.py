"""How tables look on a terminal, in a pipe and in a log."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 200
"""Columns where there is no terminal, so that nothing is cut off."""


def console() -> Console:
    """Standard output as it is now."""
    out = Console(highlight=False, emoji=False)
    if not out.is_terminal:
        out = Console(highlight=False, emoji=False, width=PIPED_WIDTH)
    return out


def show(
    out: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    numeric: Collection[int] = (),
) -> None:
    """A table with its title and caption.

    numeric: columns that are set flush right.
    """
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for place, column in enumerate(columns):
        flush = place in numeric
        grid.add_column(Text(column), justify="right" if flush else "left", no_wrap=flush, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    out.print(Text(title, style="bold"))
    out.print(grid)
    if caption:
        out.print(Text(caption, style="dim"))


def lines(out: Console, *texts: str, style: str | None = None) -> None:
    """Text as it is: no markup, and no breaks that a copied command would suffer from."""
    for text in texts:
        out.print(Text(text), style=style, soft_wrap=True)
