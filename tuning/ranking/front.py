"""The Pareto front of several objectives: the trials that no other trial dominates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tuning.experiment.goals import Goals, dominates, signed
from tuning.ledger.outcomes import RAN_TO_END

Vector = tuple[float, ...]
"""Values of the objectives, turned so that smaller is better."""


def vector_of(
    goals: Goals, outcome: str | None, values: Mapping[str, float], *, feasible: bool
) -> Vector | None:
    """The values of a trial that ran to its own end, keeps its constraints and has all values; else None."""
    if outcome not in RAN_TO_END or not feasible:
        return None
    found = goals.vector(values)
    return None if found is None else signed(goals, found)


def front_of(points: Iterable[tuple[int, Vector]]) -> tuple[int, ...]:
    """The numbers of the trials that no other dominates, the best in the first objective first.

    Of trials with equal values the one with the lowest number is there.
    """
    held: list[tuple[int, Vector]] = []
    # In this order no trial is dominated by a later one.
    for number, vector in sorted(points, key=lambda point: (point[1], point[0])):
        if not any(dominates(other, vector) or other == vector for _, other in held):
            held.append((number, vector))
    return tuple(number for number, _ in held)
