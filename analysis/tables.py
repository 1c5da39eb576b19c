"""Tables as values, and how their cells are written. Printing is the command line's. No ray, no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Text cells under columns, with a title and a caption that says what the figures mean."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: tuple[int, ...] = ()
    """Columns that are set flush right."""


def markdown(table: Table) -> str:
    """A table as Markdown, with its title and caption."""
    flush = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    cells = [table.columns, flush, *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") or " " for cell in row) + " |" for row in cells]
    return "\n".join([f"**{table.title}**", "", *lines, "", table.caption])


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows under their columns as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def figure(value: float | None) -> str:
    """A metric's value in four significant decimals."""
    return "–" if value is None else f"{value:.4f}"


def count(value: int | None) -> str:
    """A number of parameters: 1,234,567."""
    return "–" if value is None else f"{value:,}"


def budget(ran: float, of: float) -> str:
    """How far a trial came: `1.5 of 6`."""
    return f"{ran:g} of {of:g}"


def plural(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float) -> str:
    """`62 %`."""
    return f"{share:.0%}".replace("%", " %")
