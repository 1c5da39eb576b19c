"""Checks that each node of an existing cluster can read a sweep's data, before a resumed sweep goes on there.

A node that does not see the prepared data prepares them itself, as its first worker would.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.capacity import Needs, count_slots, node_of
from cluster.job_protocols import NodeJob
from cluster.node_setup import with_local_data

POLL_INTERVAL_S = 0.5


def data_errors(job: NodeJob, *, needs: Needs, look: Callable[[], None]) -> list[str]:
    """Why nodes cannot use the data of `job`, one line for each node that has room for a trial.

    needs: what a worker reserves.  look: called twice a second while nodes work; what it raises ends
    the wait. A node that is lost meanwhile is no error: others may do the work.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    waiting = []
    for node in ray.nodes():
        if not node["Alive"] or count_slots([node_of(node)], needs) == 0:
            continue
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_data_error)
        waiting.append(task.remote(job))
    found: list[str] = []
    try:
        while waiting:
            look()
            done, waiting = ray.wait(waiting, timeout=POLL_INTERVAL_S)
            for task in done:
                try:
                    error = ray.get(task)
                except ray.exceptions.RayError:
                    continue
                found += [error] if error is not None else []
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
    return sorted(found)


def _data_error(job: NodeJob) -> str | None:
    try:
        with_local_data(job)
    except RuntimeError as error:  # UnfitNodeError, which has the node and the reason
        return str(error)
    return None
