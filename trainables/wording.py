"""Counts and lists in sentences, and the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def plural(number: float, noun: str, several: str | None = None) -> str:
    """A count with its noun: `1 trial`, `10,000 trials`, `0.5 epochs`, `2 boxes`.

    several: the noun's plural form if it does not only add an s.
    """
    count = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{count} {noun}" if number == 1 else f"{count} {several or noun + 's'}"


def few(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are: `a, b and 3 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest_name(word: object, known: Iterable[object], least: float = 0.7) -> str | None:
    """The known name that `word` was probably meant to be, in any case of letters; None if none is close.

    least: the similarity of a close one, see `difflib.get_close_matches`.
    """
    folded = {str(name).lower(): str(name) for name in known}
    text = str(word).lower()
    if text in folded:
        return folded[text]
    akin = [
        n
        for f, n in folded.items()
        if min(len(text), len(f)) > 2 and (f.startswith(text) or text.startswith(f))
    ]
    if len(akin) == 1:
        return akin[0]
    close = difflib.get_close_matches(text, list(folded), n=1, cutoff=least)
    return folded[close[0]] if close else None
