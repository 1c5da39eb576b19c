"""The format of times in a report."""

from __future__ import annotations

import time


def format_time(seconds: float) -> str:
    """A time in UTC: `2026-11-24 22:52 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
