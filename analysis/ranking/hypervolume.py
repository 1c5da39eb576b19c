"""How much of the space of objectives a front covers, and how that grows over a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuning.experiment.goals import dominates
from tuning.ranking.front import Vector


def hypervolume(points: Iterable[Vector]) -> float:
    """The volume of the part of the unit cube that the points dominate; smaller is better.

    points: within the unit cube; one at 1 in any coordinate dominates nothing. Exact, by slicing along the
    last coordinate (While et al. 2006, HSO); it takes exponentially longer with each objective.
    """
    found = [point for point in points if all(value < 1 for value in point)]
    if not found:
        return 0.0
    if len(found[0]) == 1:
        return 1.0 - min(point[0] for point in found)
    ordered = sorted(found, key=lambda point: point[-1])
    volume, slab = 0.0, list[Vector]()
    for place, point in enumerate(ordered):
        slab = _front([*slab, point[:-1]])
        upto = ordered[place + 1][-1] if place + 1 < len(ordered) else 1.0
        if upto > point[-1]:
            volume += (upto - point[-1]) * hypervolume(slab)
    return volume


def growth(points: Sequence[Vector]) -> list[float]:
    """The hypervolume after each point, in the box between the worst and the best value of all of them.

    A coordinate in which all points are equal is left out. The list is empty without points.
    """
    if not points:
        return []
    low = [min(column) for column in zip(*points, strict=True)]
    high = [max(column) for column in zip(*points, strict=True)]
    counted = [place for place, (a, b) in enumerate(zip(low, high, strict=True)) if a < b]
    volumes, front, last = [], list[Vector](), 0.0
    for point in points:
        scaled = tuple((point[place] - low[place]) / (high[place] - low[place]) for place in counted)
        grown = _front([*front, scaled])
        if grown != front:
            front, last = grown, hypervolume(grown) if counted else 1.0
        volumes.append(last)
    return volumes


def _front(points: list[Vector]) -> list[Vector]:
    """The points without the last one if another is as good, or without those that it dominates."""
    *held, new = points
    if any(other == new or dominates(other, new) for other in held):
        return held
    return [*(other for other in held if not dominates(new, other)), new]
