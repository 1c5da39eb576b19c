"""Calls a Ray task's function by its name, so that only workers import it."""

from __future__ import annotations

from typing import Any

from cluster.forked.functions import call_function
from cluster.job_protocols import NodeJob
from cluster.node_setup import with_local_data


def call_by_name(name: str, job: NodeJob) -> Any:
    """The result of the function `module:function` for a job, with prepared data as it is on this node."""
    return call_function(name, with_local_data(job))
