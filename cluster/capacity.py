"""How many trials fit on a cluster at once. No ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

CAPACITY_FOR_S = 5.0
"""How long the number of trials that fit is believed."""


@dataclass(frozen=True)
class Node:
    """A machine's whole resources, used or not."""

    cpus: float
    gpus: float


def slots(nodes: Iterable[Node], *, cpus: float, gpus: float) -> int:
    """Trials of `cpus` and `gpus` each that run side by side; a trial does not span machines."""
    return sum(_slots(node, cpus, gpus) for node in nodes)


def _slots(node: Node, cpus: float, gpus: float) -> int:
    # 1 / 0.1 is 9.999…: a hair more keeps ten tenths of a GPU ten trials.
    limits = [int(has / needs + 1e-6) for has, needs in ((node.cpus, cpus), (node.gpus, gpus)) if needs > 0]
    return min(limits, default=1)


def does_not_fit(nodes: Iterable[Node], *, cpus: float, gpus: float) -> str | None:
    """Why not a single trial can run, or None if one can."""
    known = list(nodes)
    if slots(known, cpus=cpus, gpus=gpus) > 0:
        return None
    most_cpus = max((n.cpus for n in known), default=0)
    most_gpus = max((n.gpus for n in known), default=0)
    return (
        f"a trial needs {cpus:g} CPUs and {gpus:g} GPUs on one machine, and the largest here has"
        f" {most_cpus:g} and {most_gpus:g}; lower resources.cpus or resources.gpus"
    )


class Capacity:
    """Trials that run at once: what the cluster holds now, or `most` where that is fewer.

    changed: is told how many there were and are, when nodes have joined or left.
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
        """How many, asked anew after `CAPACITY_FOR_S`."""
        if time.monotonic() - self._asked >= CAPACITY_FOR_S:
            before = self._allowed()
            # A cluster that has shrunk to nothing for a moment must not end the search.
            self._slots = max(1, slots(self._nodes(), **self._needs))
            self._asked = time.monotonic()
            if before not in (0, self._allowed()):
                self._changed(before, self._allowed())
        return self._allowed()

    def _allowed(self) -> int:
        return self._slots if self._most is None else min(self._slots, self._most)
