"""The format of times, counts and sentences in a report."""

from __future__ import annotations

import time


def format_time(seconds: float) -> str:
    """A time in UTC: `2026-11-24 22:52 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def with_full_stop(text: str) -> str:
    """The text as a sentence that ends with a full stop or a question mark."""
    return text if text.endswith((".", "?")) else f"{text}."
