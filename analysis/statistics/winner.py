"""Which of several candidates to take, after each was repeated over the same seeds.

All pairs are compared by the paired t-test, with Holm's correction over the family. A candidate wins if it is
significantly better than every other one. Otherwise those that nothing is significantly better than are not
told apart, and the cheapest of them is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.statistics.verdicts import Comparison, LevelSummary, PairedDifference, Verdict
from trainables.specs.workload import Direction


@dataclass(frozen=True)
class Choice:
    """The candidate to take.

    won: whether it is significantly better than every other.  tied: the others that it is not told apart
    from, in the order of the comparison.  cheaper: whether it costs less than each of `tied`.  beaten: those
    that something is significantly better than.
    """

    name: str
    won: bool
    tied: tuple[str, ...]
    cheaper: bool
    beaten: tuple[str, ...]


def choose(comparison: Comparison, costs: Mapping[str, float | None]) -> Choice | None:
    """The candidate to take after all pairs were compared; None if none has a result.

    costs: what each candidate costs, less is better; None if it is unknown. Of equal cost, the candidate
    with the better mean is taken.
    """
    levels = {level.name: level for level in comparison.levels if level.mean is not None}
    if not levels:
        return None
    better = {_sides(d) for d in comparison.differences if d.significant}
    beaten = {worse for _, worse in better}
    left = [name for name in levels if name not in beaten]
    if not left:  # A over B, B over C, C over A: pairs with other seeds each
        left, beaten = list(levels), set()

    def order(name: str) -> tuple[float, float]:
        cost, mean = costs.get(name), levels[name].mean
        assert mean is not None
        signed = -mean if comparison.direction is Direction.MAXIMIZE else mean
        return (float("inf") if cost is None else cost, signed)

    name = min(left, key=order)
    tied = tuple(other for other in left if other != name)
    own, others = costs.get(name), [costs.get(other) for other in tied]
    cheaper = bool(tied) and own is not None and all(cost is not None and own < cost for cost in others)
    won = len(levels) > 1 and all((name, other) in better for other in levels if other != name)
    if not won and not tied:  # nothing beats it, but it does not beat all: those are not told apart from it
        tied = tuple(other for other in levels if other != name and (name, other) not in better)
        cheaper = False
    return Choice(name, won, tied, cheaper, tuple(n for n in levels if n in beaten and n not in tied))


def difference_of(comparison: Comparison, name: str, other: str) -> PairedDifference | None:
    """The difference of two candidates, in either direction; None if they were not compared."""
    for d in comparison.differences:
        if {d.level, d.reference} == {name, other}:
            return d
    return None


def optimism(found: float | None, repeated: LevelSummary, direction: Direction) -> float | None:
    """How much better the value of a search is than the mean over new seeds, on the same images.

    Positive for the winner's curse: the luckiest of many values is chosen.
    """
    if found is None or repeated.mean is None:
        return None
    excess = found - repeated.mean
    return excess if direction is Direction.MAXIMIZE else -excess


def _sides(d: PairedDifference) -> tuple[str, str]:
    """(the better, the worse) of a significant difference."""
    return (d.level, d.reference) if d.verdict is Verdict.BETTER else (d.reference, d.level)
