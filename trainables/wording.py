"""Counts, lists and full stops in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def plural(number: float, noun: str, several: str | None = None) -> str:
    """A count with its noun: `1 trial`, `10,000 trials`, `0.5 epochs`, `2 boxes`.

    several: the noun's plural form if it does not only add an s.
    """
    count = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{count} {noun}" if number == 1 else f"{count} {several or noun + 's'}"


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Counts with what they count, in the order given: `6 train, 1 validation`; empty if there are none."""
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def with_full_stop(text: str) -> str:
    """The text as a sentence that ends with a full stop or a question mark."""
    return text if text.endswith((".", "?")) else f"{text}."


def few(names: Sequence[str], most: int = 5, *, joint: str = ", ", counted: bool = False) -> str:
    """The first `most` names, and a sign of others: `a, b …`, or `a, b and 3 more` if `counted`."""
    left = len(names) - most
    more = f" and {left} more" if counted else " …"
    return joint.join(names[:most]) + (more if left > 0 else "")
