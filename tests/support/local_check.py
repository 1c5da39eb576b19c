"""`cluster check` without Ray: all its checks run in this process, as on the only node of a cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.capacity import Node
from cluster.connect import Cluster
from cluster.health.checks import ClusterFindings, NodeFindings, Wanted, _probing
from cluster.health.clock import measure_offset
from cluster.health.machine import look_at_machine
from cluster.health.nodes import Seen, installed_versions
from cluster.health.required_files import identity_of, look_at_paths, look_for_weights
from cluster.health.storage import examine_storage

NAME = f"{socket.gethostname()} (127.0.0.1)"
CPUS = 2


class OneNode(Cluster):
    """A cluster of this machine."""

    def nodes(self) -> list[Node]:
        return [Node(CPUS, 0)]


@contextmanager
def connected(*_: object, **__: object) -> Iterator[Cluster]:
    yield OneNode(True, Path())


def check_here(wanted: Wanted) -> ClusterFindings:
    """What `check_cluster` would find, with one node."""
    here = Seen(NAME, "3.11.7", installed_versions())
    node: dict[str, Any] = {"seen": here, "clock": measure_offset(lambda: 0.0, now=lambda: 0.0)}
    with _probing(wanted.storage, wanted.within_s) as probing:
        node["machine"] = look_at_machine()
        node["files"] = look_at_paths(wanted.paths)
        node["cache"] = None if wanted.cache is None else identity_of(wanted.cache)
        node["weights"] = None if wanted.model is None else look_for_weights(wanted.model)
        node["store"] = None if wanted.store is None else wanted.store()
        if probing.probe is not None:
            node["storage"] = examine_storage(probing.probe, "n1")
    found = NodeFindings("a", NAME, CPUS, 0, **node)
    return ClusterFindings(wanted, here, (found,), node["files"], node["cache"], probing.error, probing.left)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command checks this process, and starts no Ray."""
    monkeypatch.setattr("tuning.cli.cluster.check.connect", connected)
    monkeypatch.setattr("tuning.cli.cluster.check.check_cluster", check_here)
