"""Counts and lists in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def plural(number: float, noun: str, several: str | None = None) -> str:
    """A count with its noun: `1 trial`, `10,000 trials`, `0.5 epochs`, `2 boxes`.

    several: the noun's plural form if it does not only add an s.
    """
    count = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{count} {noun}" if number == 1 else f"{count} {several or noun + 's'}"


def few(names: Sequence[str], most: int = 5, *, joint: str = ", ", counted: bool = False) -> str:
    """The first `most` names, and a sign of others: `a, b …`, or `a, b and 3 more` if `counted`."""
    left = len(names) - most
    more = f" and {left} more" if counted else " …"
    return joint.join(names[:most]) + (more if left > 0 else "")
