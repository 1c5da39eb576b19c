"""Computes how many workers fit on a cluster at once; a worker trains one trial or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

CAPACITY_FOR_S = 5.0
"""Seconds for which the number of workers that fit is cached."""


@dataclass(frozen=True)
class Node:
    """The total resources of a machine, used or not."""

    cpus: float
    gpus: float


def count_slots(nodes: Iterable[Node], *, cpus: float, gpus: float) -> int:
    """The number of workers of `cpus` and `gpus` each that run at once; none spans machines."""
    return sum(_slots(node, cpus, gpus) for node in nodes)


def _slots(node: Node, cpus: float, gpus: float) -> int:
    # 1 / 0.1 is 9.999…: a small addition makes a GPU fit ten workers of a tenth.
    limits = [int(has / needs + 1e-6) for has, needs in ((node.cpus, cpus), (node.gpus, gpus)) if needs > 0]
    return min(limits, default=1)


def does_not_fit(nodes: Iterable[Node], *, cpus: float, gpus: float) -> str | None:
    """Why no worker can run, or None if one can."""
    known = list(nodes)
    if count_slots(known, cpus=cpus, gpus=gpus) > 0:
        return None
    most_cpus = max((n.cpus for n in known), default=0)
    most_gpus = max((n.gpus for n in known), default=0)
    return (
        f"a worker needs CPUs: {cpus:g}, GPUs: {gpus:g} on one machine, but the largest machine has CPUs:"
        f" {most_cpus:g}, GPUs: {most_gpus:g}; lower resources.cpus or resources.gpus"
    )


class Capacity:
    """The number of workers that run at once: what fits on the cluster now, but at most `most`.

    changed: called with the old and the new number, when nodes have joined or left.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Node]],
        cpus: float,
        gpus: float,
        most: int | None,
        *,
        changed: Callable[[int, int], None] = lambda before, now: None,
    ) -> None:
        self._nodes = nodes
        self._needs = {"cpus": cpus, "gpus": gpus}
        self._most = most
        self._changed = changed
        self._slots, self._asked = 0, -CAPACITY_FOR_S

    def __call__(self) -> int:
        """The number, computed again after `CAPACITY_FOR_S`."""
        if time.monotonic() - self._asked >= CAPACITY_FOR_S:
            before = self._allowed()
            # A cluster that has no nodes for a moment must not end the search.
            self._slots = max(1, count_slots(self._nodes(), **self._needs))
            self._asked = time.monotonic()
            if before not in (0, self._allowed()):
                self._changed(before, self._allowed())
        return self._allowed()

    def _allowed(self) -> int:
        return self._slots if self._most is None else min(self._slots, self._most)
