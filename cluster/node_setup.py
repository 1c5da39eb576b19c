"""What a worker needs on its node before it trains or scores: the experiment's folder, prepared data."""

from __future__ import annotations

import socket
from pkgutil import resolve_name
from typing import TypeVar

from cluster.job import NodeJob

PREPARE = "trainables.preparation:prepared_here"
"""Named, as only workers import it."""
AnyJob = TypeVar("AnyJob", bound=NodeJob)


class UnfitNodeError(RuntimeError):
    """This node cannot run the sweep's trials, whichever they are. Says which node, and why."""


def with_local_data(job: AnyJob) -> AnyJob:
    """The job with `prepared` as it is on this node.

    Data that is not there, as on a node with a cache of its own, is prepared once for all workers of
    the node. Raises UnfitNodeError where that fails, or where the experiment's folder is not to be seen.
    """
    if not job.experiment.is_dir():
        raise UnfitNodeError(
            f"node {node_name()} does not see the experiment's folder {job.experiment}: storage must be on a"
            " file system that every node mounts at the same place; mount it there, or take the node out"
        )
    if job.prepared.is_dir():
        return job
    try:
        here = resolve_name(PREPARE)(job)
    except Exception as error:
        raise UnfitNodeError(f"node {node_name()} cannot prepare the data: {error}") from error
    return job.with_prepared(here)


def node_name() -> str:
    """This machine's name, with the address that its cluster knows it by."""
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
