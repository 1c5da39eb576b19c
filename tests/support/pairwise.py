"""A sample of a matrix in which every pair of values occurs."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=tuple[Hashable, ...])


def pairwise_sample(rows: Iterable[T]) -> list[T]:
    """Rows of a matrix with every pair of values that any row has, about as few as possible.

    Greedy: each time the row with the most pairs that are still missing, the first among equals.
    """
    left = list(rows)
    missing = {pair for row in left for pair in _pairs(row)}
    chosen: list[T] = []
    while missing:
        best = max(left, key=lambda row: len(missing.intersection(_pairs(row))))
        chosen.append(best)
        missing.difference_update(_pairs(best))
    return chosen


def _pairs(row: Sequence[Hashable]) -> list[tuple[tuple[int, Hashable], tuple[int, Hashable]]]:
    return list(itertools.combinations(enumerate(row), 2))
