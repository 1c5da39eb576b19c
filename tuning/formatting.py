"""Formatting of durations, settings and JSON for the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue


def duration(seconds: float | None) -> str:
    """A duration as `48 s`, `3 min 05 s` or `2 h 07 min`; `–` for None."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def format_settings(params: Mapping[str, JsonValue], rates: Mapping[str, float] | None = None) -> str:
    """Settings on one line: `adapter=lora  lora.rank=8  learning_rate=0.00123`. rates: see `format_drawn`."""
    return "  ".join(f"{name}={format_drawn(name, value, rates)}" for name, value in params.items())


def format_drawn(name: str, value: JsonValue, rates: Mapping[str, float] | None = None) -> str:
    """The value of a parameter, and the rate at which the trial trains where that is another one.

    rates: the learning rates that are scaled with another setting.
    """
    actual = (rates or {}).get(name, value)
    return format_setting(value) + ("" if actual == value else f" (trains at {format_setting(actual)})")


def format_setting(value: JsonValue) -> str:
    """The value of one setting; numbers have at most four significant digits."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.4g}"
        case list():
            return ",".join(format_setting(item) for item in value)
        case _:
            return str(value)


def json_text(value: JsonValue) -> str:
    """A JSON answer of the command line, for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False)
