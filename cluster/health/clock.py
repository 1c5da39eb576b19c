"""How far a node's clock is from the driver's, by the round trip of a question (Cristian 1989)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUND_TRIPS = 5


@dataclass(frozen=True)
class ClockOffset:
    """Seconds that a clock is ahead of the driver's: between `offset_s` - `error_s` and + `error_s`."""

    offset_s: float
    error_s: float

    @property
    def least_s(self) -> float:
        """The least that the clocks can differ, in seconds."""
        return max(0.0, abs(self.offset_s) - self.error_s)


def measure_offset(
    ask: Callable[[], float],
    *,
    times: int = ROUND_TRIPS,
    now: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> ClockOffset:
    """The offset by the shortest of some round trips. ask: the other clock's time, in seconds since 1970."""
    found: list[ClockOffset] = []
    for _ in range(times):
        began, before = steady(), now()
        there = ask()
        trip = steady() - began
        found.append(ClockOffset(there - (before + trip / 2), trip / 2))
    return min(found, key=lambda offset: offset.error_s)
