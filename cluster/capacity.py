"""Computes how many workers fit on a cluster at once; a worker trains one trial or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CAPACITY_FOR_S = 5.0
"""Seconds for which the number of workers that fit is cached."""
GB = 1e9


@dataclass(frozen=True)
class Node:
    """The total resources of a machine, used or not. memory: bytes of RAM that Ray assigns to workers."""

    cpus: float
    gpus: float
    memory: float = 0.0


def node_of(ray_node: Mapping[str, Any]) -> Node:
    """The resources of an entry of `ray.nodes()`."""
    has = ray_node.get("Resources", {})
    return Node(cpus=has.get("CPU", 0.0), gpus=has.get("GPU", 0.0), memory=has.get("memory", 0.0))


@dataclass(frozen=True)
class Needs:
    """What a worker reserves on one machine. memory: bytes of RAM; with 0 none is reserved."""

    cpus: float
    gpus: float
    memory: float = 0.0

    def bundle(self) -> dict[str, float]:
        """What Ray is asked for, by its names; without what is not needed."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return {name: amount for name, amount in amounts.items() if amount}

    def __str__(self) -> str:
        more = f", memory: {self.memory / GB:.3g} GB" if self.memory else ""
        return f"CPUs: {self.cpus:g}, GPUs: {self.gpus:g}{more}"


def count_slots(nodes: Iterable[Node], needs: Needs) -> int:
    """The number of workers that run at once; none spans machines."""
    return sum(_slots(node, needs) for node in nodes)


def _slots(node: Node, needs: Needs) -> int:
    pairs = ((node.cpus, needs.cpus), (node.gpus, needs.gpus), (node.memory, needs.memory))
    # 1 / 0.1 is 9.999…: a small addition makes a GPU fit ten workers of a tenth.
    limits = [int(has / needed + 1e-6) for has, needed in pairs if needed > 0]
    return min(limits, default=1)


def does_not_fit(nodes: Iterable[Node], needs: Needs) -> str | None:
    """Why no worker can run, or None if one can."""
    known = list(nodes)
    if count_slots(known, needs) > 0:
        return None
    largest = Needs(
        cpus=max((node.cpus for node in known), default=0),
        gpus=max((node.gpus for node in known), default=0),
        memory=max((node.memory for node in known), default=0) if needs.memory else 0.0,
    )
    keys = [key for key, needed in (("cpus", needs.cpus), ("gpus", needs.gpus)) if needed > 0]
    keys += ["memory_gb"] if needs.memory else []
    named = " or ".join(f"resources.{key}" for key in keys)
    return (
        f"a worker needs {needs} on one machine, but the most that any machine has is {largest};"
        f" lower {named}"
    )


class Capacity:
    """The number of workers that run at once: what fits on the cluster now, but at most `most`.

    needs: what a worker that starts now reserves, by the machines that are alive. changed: called with the
    old and the new number, when nodes have joined or left.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Node]],
        needs: Callable[[Sequence[Node]], Needs],
        most: int | None,
        *,
        changed: Callable[[int, int], None] = lambda before, now: None,
    ) -> None:
        self._nodes = nodes
        self._needs_on = needs
        self._needs = Needs(0.0, 0.0)
        self._most = most
        self._changed = changed
        self._slots, self._asked = 0, -CAPACITY_FOR_S

    def __call__(self) -> int:
        """The number, computed again after `CAPACITY_FOR_S`."""
        if time.monotonic() - self._asked >= CAPACITY_FOR_S:
            before = self._allowed()
            nodes = list(self._nodes())
            self._needs = self._needs_on(nodes)
            # A cluster that has no nodes for a moment must not end the search.
            self._slots = max(1, count_slots(nodes, self._needs))
            self._asked = time.monotonic()
            if before not in (0, self._allowed()):
                self._changed(before, self._allowed())
        return self._allowed()

    @property
    def needs(self) -> Needs:
        """What a worker that starts now reserves."""
        self()
        return self._needs

    def full(self, running: Collection[Needs]) -> bool:
        """Whether no further worker may start.

        running: what each worker that runs has reserved. Those that reserved something else than one that
        starts now count for `most` alone: they may have no GPU, and it one.
        """
        places = self()
        if self._most is not None and len(running) >= self._most:
            return True
        return sum(each == self._needs for each in running) >= places

    def _allowed(self) -> int:
        return self._slots if self._most is None else min(self._slots, self._most)
