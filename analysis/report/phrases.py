"""How a report writes times, counts and sentences. No ray, no torch."""

from __future__ import annotations

import time


def format_time(seconds: float) -> str:
    """`2026-11-24 22:52 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def trials_in_words(number: int) -> str:
    """`1 trial`, `10,000 trials`."""
    return "1 trial" if number == 1 else f"{number:,} trials"


def with_full_stop(text: str) -> str:
    """With its full stop."""
    return text if text.endswith((".", "?")) else f"{text}."
