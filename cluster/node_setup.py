"""Sets up a worker's node before it trains or scores: the experiment's folder, prepared data."""

from __future__ import annotations

import socket
from pkgutil import resolve_name
from typing import TypeVar

from cluster.job_protocols import NodeJob

PREPARE = "trainables.preparation:prepared_here"
"""A name, because only workers import it."""
AnyJob = TypeVar("AnyJob", bound=NodeJob)


class UnfitNodeError(RuntimeError):
    """This node cannot run any of the sweep's trials. The message has the node and the reason."""


def with_local_data(job: AnyJob) -> AnyJob:
    """The job with the folder of `prepared` data on this node.

    If the data is absent, as on a node with its own cache, it is prepared once for all workers of
    the node. Raises UnfitNodeError if that fails, or if the node does not see the experiment's folder.
    """
    if not job.experiment.is_dir():
        raise UnfitNodeError(
            f"node {node_name()} does not see the experiment's folder {job.experiment}: storage must be on a"
            " file system that every node mounts at the same path; mount it there, or remove the node"
        )
    if job.prepared.is_dir():
        return job
    try:
        here = resolve_name(PREPARE)(job)
    except Exception as error:
        raise UnfitNodeError(f"node {node_name()} cannot prepare the data: {error}") from error
    return job.with_prepared(here)


def node_name() -> str:
    """This machine's name, with its address in the cluster."""
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
