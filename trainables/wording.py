"""Counts in sentences."""

from __future__ import annotations


def plural(number: float, noun: str, several: str | None = None) -> str:
    """A count with its noun: `1 trial`, `10,000 trials`, `0.5 epochs`, `2 boxes`.

    several: the noun's plural form if it does not only add an s.
    """
    count = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{count} {noun}" if number == 1 else f"{count} {several or noun + 's'}"
