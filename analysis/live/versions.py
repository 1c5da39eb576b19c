"""The parts of a page by name, each with the version at which it changed: a viewer gets only what is new.

A viewer says up to which version it has the page. Nothing is kept for it, so a slow one costs nothing, and
one that comes back after an hour gets each part that has changed in it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Point = tuple[float, float | None]
"""Epoch and value; None for a value that is no number."""


@dataclass(frozen=True)
class Changes:
    """What a viewer lacks.

    points: by trial, how many points it has that still hold, and those that follow.
    """

    version: int
    parts: dict[str, Any]
    points: dict[int, tuple[int, list[Point]]]


class Versions:
    """Named parts, and the points of curves, each with the version at which it came."""

    def __init__(self) -> None:
        self.version = 0
        """The version of the last change; 0 before the first."""
        self._parts: dict[str, tuple[int, Any]] = {}
        self._points: dict[int, list[tuple[int, Point]]] = {}
        self._drawn: dict[int, int] = {}
        """The version at which each curve changed last; it may have lost points then."""

    def put(self, changed: dict[str, Any]) -> None:
        """Set parts; those that stay equal do not change."""
        new = {
            name: value
            for name, value in changed.items()
            if name not in self._parts or self._parts[name][1] != value
        }
        if new:
            self.version += 1
            self._parts |= {name: (self.version, value) for name, value in new.items()}

    def draw(self, trial: int, points: list[Point]) -> None:
        """Set the points of a curve; those at its start that stay equal do not change."""
        known = self._points.setdefault(trial, [])
        same = 0
        while same < min(len(known), len(points)) and known[same][1] == points[same]:
            same += 1
        if same == len(points) == len(known):
            return
        self.version += 1
        self._drawn[trial] = self.version
        self._points[trial] = known[:same] + [(self.version, point) for point in points[same:]]

    def since(self, version: int) -> Changes:
        """What has changed after a version, 0 for everything."""
        parts = {name: value for name, (at, value) in self._parts.items() if at > version}
        points = {}
        for trial, changed in self._drawn.items():
            if changed > version:
                known = self._points[trial]
                kept = next((place for place, (at, _) in enumerate(known) if at > version), len(known))
                points[trial] = kept, [point for _, point in known[kept:]]
        return Changes(self.version, parts, points)
