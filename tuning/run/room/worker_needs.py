"""What a worker of a sweep reserves on a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cluster.capacity import GB, Needs, Node, count_slots
from tuning.experiment.sections.resources import ResourceSpec
from tuning.messages import say

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

_RESERVES = "reserves"


class WorkerNeeds:
    """The resources of a worker that starts now; with `gpus: auto` they depend on the nodes.

    One GPU from the moment that a node has one and has room for a worker: on a cluster that began without,
    workers of before end on their CPUs. It stays so if the node leaves, as it often comes back; a trial on
    CPUs would take far longer than the wait.
    """

    def __init__(self, resources: ResourceSpec) -> None:
        self._resources = resources
        self._last: Needs | None = None

    def __call__(self, nodes: Iterable[Node]) -> Needs:
        """What a worker reserves that starts now, on a cluster of these nodes."""
        known = list(nodes)
        one = self._with_gpus(1.0)
        with_gpu = self._last == one or count_slots(known, one) > 0
        needs = self._with_gpus(self._resources.gpus_of_worker(any_there=with_gpu))
        if self._last is not None and self._last != needs:
            say("a node with a GPU has joined: trials that start from now on take a GPU each")
        self._last = needs
        return needs

    def _with_gpus(self, gpus: float) -> Needs:
        return Needs(self._resources.cpus, gpus, (self._resources.memory_gb or 0.0) * GB)


def reserving(config: Mapping[str, Any], needs: Needs) -> dict[str, Any]:
    """The configuration of one of Ray's trials, with what its worker reserves."""
    return {**config, _RESERVES: needs.bundle()}


def bundle_of(config: Mapping[str, Any]) -> PlacementGroupFactory:
    """What Ray reserves for a trial, by its configuration."""
    from ray.tune import PlacementGroupFactory

    return PlacementGroupFactory([config[_RESERVES]])
