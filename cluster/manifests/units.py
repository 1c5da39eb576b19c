"""Durations and amounts of memory, as profiles write them with their units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_MEBIBYTES = {"MiB": 1, "GiB": 1_024, "TiB": 1_024 * 1_024}
_DURATION = re.compile(r"(?:(\d+)d)? ?(?:(\d+)h)? ?(?:(\d+)min)? ?(?:(\d+)s)?")


@dataclass(frozen=True, order=True)
class Duration:
    """A length of time in whole seconds, more than 0."""

    seconds: int

    def __str__(self) -> str:
        parts, left = [], self.seconds
        for unit, size in _SECONDS.items():
            if left >= size:
                parts.append(f"{left // size}{unit}")
                left %= size
        return " ".join(parts)


@dataclass(frozen=True, order=True)
class Memory:
    """An amount of memory in MiB, more than 0."""

    mebibytes: int

    def __str__(self) -> str:
        whole = self.mebibytes % 1_024 == 0
        return f"{self.mebibytes // 1_024}GiB" if whole else f"{self.mebibytes}MiB"


def parse_duration(value: Any) -> Duration:
    """A duration such as `90min` or `1d 12h`. Raises ValueError with the rule and the value."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    counts = [int(part or 0) for part in match.groups()] if match is not None else []
    seconds = sum(count * size for count, size in zip(counts, _SECONDS.values(), strict=False))
    if not seconds:
        raise ValueError(
            "must be a length of time with the units d, h, min and s, such as 4h, 90min or 1d 12h,"
            f" got {_shown(value)}"
        )
    return Duration(seconds)


def parse_memory(value: Any) -> Memory:
    """An amount of memory such as `64GiB`. Raises ValueError with the rule and the value."""
    match = re.fullmatch(r"(\d+) ?(MiB|GiB|TiB)", value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"must be a whole number with the unit MiB, GiB or TiB, such as 64GiB, got {_shown(value)}"
        )
    return Memory(int(match[1]) * _MEBIBYTES[match[2]])


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
