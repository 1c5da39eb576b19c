"""Tables as values, and how their cells are written. Printing is the command line's. No ray, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True)
class Table:
    """Text cells under columns, with a title and a caption that says what the figures mean."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: tuple[int, ...] = ()
    """Columns that are set flush right."""


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


def settings(params: Mapping[str, JsonValue]) -> str:
    """Settings on one line: `adapter=lora  lora.rank=8  learning_rate=0.00123`."""
    return "  ".join(f"{name}={setting(value)}" for name, value in params.items())


def setting(value: JsonValue) -> str:
    """One setting's value, numbers in at most four significant digits."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.4g}"
        case list():
            return ",".join(setting(item) for item in value)
        case _:
            return str(value)
