from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.wait_for_nodes import wait_for_nodes


class Clock:
    """A clock that moves by what is waited."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("counts", "nodes", "result", "told"),
    [
        ((1, 1, 2, 3), 3, 3, ["1 of 3 nodes are there", "2 of 3 nodes are there", "3 of 3 nodes are there"]),
        ((4,), 3, 4, ["4 of 3 nodes are there"]),
        (
            (2,) * 7,
            3,
            2,
            [
                "2 of 3 nodes are there",
                "the others did not join within 3 s; the sweep begins without them",
            ],
        ),
    ],
)
def test_it_waits_for_the_nodes_and_not_longer_than_it_may(
    counts: Sequence[int], nodes: int, result: int, told: list[str]
) -> None:
    clock, left, said = Clock(), iter(counts), list[str]()
    found = wait_for_nodes(lambda: next(left), nodes, 3.0, tell=said.append, now=clock, pause=clock.pause)
    assert (found, said) == (result, told)
    assert next(left, None) is None  # it has asked as often as there are counts
