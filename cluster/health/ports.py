"""Whether the nodes of a cluster reach each other's ports."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

OTHERS = 16
"""How many other nodes each node tries to reach; in a ring, so that as many try to reach each node."""
CONNECTS_WITHIN_S = 5.0
_PORTS = {"raylet": "NodeManagerPort", "object manager": "ObjectManagerPort"}


@dataclass(frozen=True)
class Port:
    """A port of a node. node: its ID."""

    node: str
    name: str
    host: str
    number: int


@dataclass(frozen=True)
class Unreachable:
    """A port that cannot be reached, and why."""

    port: Port
    reason: str


def ports_of(node: Mapping[str, Any]) -> tuple[Port, ...]:
    """The ports on which a node of `ray.nodes()` must be reached."""
    return tuple(
        Port(str(node["NodeID"]), name, str(node["NodeManagerAddress"]), int(node[key]))
        for name, key in _PORTS.items()
        if int(node.get(key) or 0) > 0
    )


def ports_to_try(nodes: Sequence[Sequence[Port]], index: int, others: int = OTHERS) -> tuple[Port, ...]:
    """The ports that the node at `index` tries: its own, and those of the nodes after it in the ring."""
    ring = [*nodes[index:], *nodes[:index]]
    return tuple(port for ports in ring[: others + 1] for port in ports)


def unreachable(ports: Sequence[Port], within_s: float = CONNECTS_WITHIN_S) -> tuple[Unreachable, ...]:
    """Those of the ports that accept no connection from here within so many seconds."""

    def attempt(port: Port) -> Unreachable | None:
        try:
            socket.create_connection((port.host, port.number), timeout=within_s).close()
        except OSError as error:
            return Unreachable(port, error.strerror or str(error) or type(error).__name__)
        return None

    if not ports:
        return ()
    with ThreadPoolExecutor(max_workers=min(32, len(ports))) as pool:
        return tuple(found for found in pool.map(attempt, ports) if found is not None)
