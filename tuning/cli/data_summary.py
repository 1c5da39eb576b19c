"""What was prepared, in a few lines: images, boxes, crowds, warnings, and errors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.wording import counts_in_words, plural

SHOWN = 10
"""The errors that are listed by name; the others are only counted."""


def prepared_line(counts: Mapping[str, int], boxes: Mapping[str, int], crowds: Mapping[str, int]) -> str:
    """`6 train, 1 validation, 1 test; boxes: 12, 2, 2, of which 3 are crowds`."""
    parts = counts_in_words(counts) or "no counts"
    if not any(boxes.values()):
        return parts
    line = f"{parts}; boxes: {', '.join(str(boxes.get(split, 0)) for split in counts)}"
    total = sum(crowds.values())
    return line + (f", of which {total} {'is a crowd' if total == 1 else 'are crowds'}" if total else "")


def error_count(faults: Sequence[Any]) -> str:
    """`1 error`, `3 errors`."""
    return plural(len(faults), "error")


def error_lines(faults: Sequence[Any], rest: str) -> list[str]:
    """A line for each of the first errors. rest: where all are listed."""
    lines = [
        f"  {'  '.join(map(str, fault.values())) if isinstance(fault, dict) else fault}"
        for fault in faults[:SHOWN]
    ]
    if len(faults) > SHOWN:
        lines.append(f"  … and {len(faults) - SHOWN} more: {rest}")
    return lines
