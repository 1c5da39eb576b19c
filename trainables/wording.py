"""Counts, lists and full stops in sentences, names with control characters, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


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


def printable(text: str) -> str:
    """The text with what is no UTF-8, such as bytes in a file's name, as a backslash and its number."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
CONTROLS |= {0x7F: "\u2421"} | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
CONTROLS |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
"""What a terminal would obey, and what shows for it: the control codes but tab and line feed, and those that
change the direction of text. A class, a file or an error may have such a name."""


def without_controls(text: str) -> str:
    """The text as a terminal may get it: each control character as a sign for it, `␛` for escape."""
    return text.translate(CONTROLS)


def few(names: Sequence[str], most: int = 5, *, joint: str = ", ", counted: bool = False) -> str:
    """The first `most` names, and a sign of others: `a, b …`, or `a, b and 3 more` if `counted`."""
    left = len(names) - most
    more = f" and {left} more" if counted else " …"
    return joint.join(names[:most]) + (more if left > 0 else "")


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
