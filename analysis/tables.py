"""Tables as values, and the format of their cells. The command line prints them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Text cells under columns, with a title and a caption that explains the values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: tuple[int, ...] = ()
    """Indices of right-aligned columns."""


def table_markdown(table: Table) -> str:
    """The table as Markdown, with its title and caption."""
    flush = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    cells = [table.columns, flush, *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") or " " for cell in row) + " |" for row in cells]
    return "\n".join([f"**{table.title}**", "", *lines, "", table.caption])


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows with a header line as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def format_signed(value: float | None, places: int = 2) -> str:
    """A number with its sign, for a table or a sentence; – for None."""
    return "–" if value is None else f"{value:+.{places}f}".replace("-", "−")


def format_metric(value: float | None) -> str:
    """The value of a metric with four decimals."""
    return "–" if value is None else f"{value:.4f}"


def format_count(value: int | None) -> str:
    """A number of parameters: `1,234,567`."""
    return "–" if value is None else f"{value:,}"


def format_budget(ran: float, of: float) -> str:
    """The epochs that a trial ran and its budget: `1.5 of 6`."""
    return f"{ran:g} of {of:g}"


def percent(share: float) -> str:
    """`62 %`."""
    return f"{share:.0%}".replace("%", " %")
