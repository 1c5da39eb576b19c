"""How many trials fit on a cluster at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
