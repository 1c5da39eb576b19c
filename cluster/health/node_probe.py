"""The actor that runs the checks on a node."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.health.gpus import GpuFindings, look_at_gpus
from cluster.health.machine import Machine, look_at_machine
from cluster.health.nodes import inspect_node
from cluster.health.ports import Port, Unreachable, unreachable
from cluster.health.required_files import (
    Contents,
    HubModel,
    StoreAnswer,
    Weights,
    identity_of,
    look_at_paths,
    look_for_weights,
)
from cluster.health.storage import Probe, StorageFindings, examine_storage

THREADS = 8
"""Calls that run at once: one that hangs, as on a file server that is down, holds up no other."""


class NodeProbe:
    """Checks the node that it runs on. Each method is one check, and may hang without the others."""

    def seen(self) -> dict[str, Any]:
        """The node's name and versions, as `cluster.health.nodes.Seen`."""
        return inspect_node()

    def now(self) -> float:
        """The node's clock, in seconds since 1970."""
        return time.time()

    def machine(self) -> Machine:
        """What its processes have."""
        return look_at_machine()

    def gpu_findings(self) -> GpuFindings:
        """Its GPUs."""
        return look_at_gpus()

    def unreachable(self, ports: Sequence[Port]) -> tuple[Unreachable, ...]:
        """The ports that it cannot reach."""
        return unreachable(ports)

    def storage(self, probe: Probe, name: str) -> StorageFindings:
        """What it sees of the storage. name: of the file that it leaves for the driver."""
        return examine_storage(probe, name)

    def files(self, paths: Mapping[str, str]) -> dict[str, Contents | str]:
        """What it has at the paths."""
        return look_at_paths(paths)

    def cache(self, folder: Path) -> tuple[int, int] | None:
        """What it has at the driver's cache of prepared data."""
        return identity_of(folder)

    def weights(self, model: HubModel) -> Weights:
        """Whether it has the weights of a model on the hub."""
        return look_for_weights(model)

    def store(self, ask: Callable[[], StoreAnswer]) -> StoreAnswer:
        """Whether it can use the object store."""
        return ask()
