"""Runs the checks of `adaptertune cluster check` on all nodes of the connected cluster at once.

One actor for each node, pinned to it and without resources, so that it runs beside any sweep. Whatever does
not answer in time is left out of the findings, which say so.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.auth_token import exposed_token
from cluster.capacity import node_of
from cluster.health.clock import ClockOffset, measure_offset
from cluster.health.gpus import GpuFindings
from cluster.health.machine import Machine
from cluster.health.node_probe import THREADS, NodeProbe
from cluster.health.nodes import Seen, installed_versions
from cluster.health.ports import OTHERS, Unreachable, ports_of, ports_to_try
from cluster.health.required_files import Contents, HubModel, StoreAnswer, Weights, identity_of, look_at_paths
from cluster.health.storage import Probe, StorageFindings, probe_in

POLL_INTERVAL_S = 0.5
CLOCK_WITHIN_S = 5.0
CLEAN_UP_WITHIN_S = 10.0


@dataclass(frozen=True)
class Wanted:
    """What is checked beside the machines themselves.

    paths: that every node needs, by the key of the experiment file.  cache: of prepared data, where the
    driver has it.  store: tests the object store; it runs on the nodes.
    within_s: seconds that a node has to answer at all, and again to end its checks.
    """

    storage: Path
    paths: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    model: HubModel | None = None
    store: Callable[[], StoreAnswer] | None = None
    within_s: float = 60.0


@dataclass(frozen=True)
class NodeFindings:
    """What is known of a node. None: not asked for, or no answer.

    node: its name and address.  cpus, gpus, object_store: what Ray offers there, the last in bytes.
    error: why the node cannot be used at all; empty if it answers.  silent: the checks that did not end in
    time or failed, each with the reason.
    """

    id: str
    node: str
    cpus: float
    gpus: float
    object_store: int | None = None
    error: str = ""
    silent: Mapping[str, str] = field(default_factory=dict)
    seen: Seen | None = None
    clock: ClockOffset | None = None
    machine: Machine | None = None
    gpu_findings: GpuFindings | None = None
    unreachable: tuple[Unreachable, ...] | None = None
    storage: StorageFindings | None = None
    files: Mapping[str, Contents | str] | None = None
    cache: tuple[int, int] | None = None
    weights: Weights | None = None
    store: StoreAnswer | None = None


@dataclass(frozen=True)
class ClusterFindings:
    """What is known of a cluster.

    here: the driver's versions.  here_files: what is at the wanted paths where the driver runs.
    here_token: the file of the driver's token, if others can read it.
    storage_error: why the driver cannot use the storage; empty if it can.  left: a probe folder that could
    not be removed.
    """

    wanted: Wanted
    here: Seen
    nodes: tuple[NodeFindings, ...]
    here_files: Mapping[str, Contents | str] = field(default_factory=dict)
    here_cache: tuple[int, int] | None = None
    storage_error: str = ""
    left: Path | None = None
    here_token: str | None = None

    def name_of(self, node_id: str) -> str:
        """The name of a node."""
        return next((node.node for node in self.nodes if node.id == node_id), node_id)


def check_cluster(wanted: Wanted) -> ClusterFindings:
    """Check every node that is alive. What the nodes and the driver wrote is removed at the end."""
    import ray

    here = Seen("", platform.python_version(), installed_versions())
    known = sorted((n for n in ray.nodes() if n["Alive"]), key=lambda n: str(n["NodeManagerAddress"]))
    with _probing(wanted.storage, wanted.within_s) as probing:
        actors = {str(node["NodeID"]): _actor_on(str(node["NodeID"])) for node in known}
        try:
            found = _ask_all(known, actors, wanted, probing.probe)
        finally:
            for actor in actors.values():
                with suppress(Exception):
                    ray.kill(actor)
        here_files = _within(lambda: look_at_paths(wanted.paths), wanted.within_s, {})
        here_cache = _within(lambda: _identity(wanted.cache), wanted.within_s, None)
    token = exposed_token()
    return ClusterFindings(
        wanted,
        here,
        tuple(found),
        here_files,
        here_cache,
        probing.error,
        probing.left,
        None if token is None else str(token),
    )


def _identity(folder: Path | None) -> tuple[int, int] | None:
    return None if folder is None else identity_of(folder)


def _actor_on(node_id: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": THREADS, "scheduling_strategy": there}
    return ray.remote(NodeProbe).options(**options).remote()


def _ask_all(
    known: Sequence[Mapping[str, Any]], actors: Mapping[str, Any], wanted: Wanted, probe: Probe | None
) -> list[NodeFindings]:
    nodes = [_as_ray_knows(node) for node in known]
    names = _gather({(node.id, "seen"): actors[node.id].seen.remote() for node in nodes}, wanted.within_s)
    nodes = [_greeted(node, names[node.id, "seen"]) for node in nodes]
    nodes = distinctly_named(nodes)
    able = [node for node in nodes if not node.error]
    clocks = {node.id: _clock_of(actors[node.id]) for node in able}
    ports = [ports_of(node) for node in known if str(node["NodeID"]) in clocks]
    asked: dict[tuple[str, str], Any] = {}
    for index, node in enumerate(able):
        actor = actors[node.id]
        calls = {
            "machine": actor.machine.remote(),
            "gpu_findings": actor.gpu_findings.remote(),
            "unreachable": actor.unreachable.remote(ports_to_try(ports, index, OTHERS)),
        }
        if probe is not None:
            calls["storage"] = actor.storage.remote(probe, node.id)
        if wanted.paths:
            calls["files"] = actor.files.remote(wanted.paths)
        if wanted.cache is not None:
            calls["cache"] = actor.cache.remote(wanted.cache)
        if wanted.model is not None:
            calls["weights"] = actor.weights.remote(wanted.model)
        if wanted.store is not None:
            calls["store"] = actor.store.remote(wanted.store)
        asked |= {(node.id, check): call for check, call in calls.items()}
    answers = _gather(asked, wanted.within_s)
    seen_here: dict[str, bool] = {}
    if probe is not None:
        seen_here = _within(lambda: {node.id: probe.sees(node.id) for node in able}, wanted.within_s, {})
    return [
        node if node.error else _filled(replace(node, clock=clocks[node.id]), answers, seen_here.get(node.id))
        for node in nodes
    ]


def _as_ray_knows(node: Mapping[str, Any]) -> NodeFindings:
    has = node_of(node)
    name = f"{node.get('NodeManagerHostname', '')} ({node['NodeManagerAddress']})"
    store = node.get("Resources", {}).get("object_store_memory")
    return NodeFindings(
        str(node["NodeID"]),
        name.strip(),
        float(has.cpus),
        float(has.gpus),
        None if store is None else int(store),
    )


@dataclass(frozen=True)
class _Failed:
    """Why there is no answer."""

    reason: str


def _greeted(node: NodeFindings, answer: Any) -> NodeFindings:
    if isinstance(answer, _Failed):
        return replace(node, error=answer.reason)
    seen = Seen(**answer)
    return replace(node, node=seen.node, seen=seen)


def distinctly_named(nodes: Sequence[NodeFindings]) -> list[NodeFindings]:
    """The nodes with names that differ: several on one machine get the beginning of their ID, too."""
    names = [node.node for node in nodes]
    return [
        replace(node, node=f"{node.node} {node.id[:6]}") if names.count(node.node) > 1 else node
        for node in nodes
    ]


def _filled(
    node: NodeFindings, answers: Mapping[tuple[str, str], Any], seen_here: bool | None
) -> NodeFindings:
    own = {check: answer for (id_, check), answer in answers.items() if id_ == node.id}
    silent = {check: answer.reason for check, answer in own.items() if isinstance(answer, _Failed)}
    given = {check: answer for check, answer in own.items() if check not in silent}
    filled = replace(node, silent=silent, **given)
    if filled.storage is not None and filled.storage.shared and not filled.storage.error:
        filled = replace(filled, storage=replace(filled.storage, seen=seen_here))
    return filled


def _clock_of(actor: Any) -> ClockOffset | None:
    import ray

    def ask() -> float:
        return float(ray.get(actor.now.remote(), timeout=CLOCK_WITHIN_S))

    try:
        return measure_offset(ask)
    except ray.exceptions.RayError:  # a timeout, too; the checks that follow say what is wrong
        return None


def _gather(asked: Mapping[tuple[str, str], Any], within_s: float) -> dict[tuple[str, str], Any]:
    """The answers to calls, or why there is none. Waits in short steps, so that a signal is heeded."""
    import ray

    deadline = time.monotonic() + within_s
    waiting, done = list(asked.values()), set()
    while waiting and (left := deadline - time.monotonic()) > 0:
        ended, waiting = ray.wait(
            waiting, num_returns=len(waiting), timeout=min(POLL_INTERVAL_S, left), fetch_local=False
        )
        done.update(ended)
    answers: dict[tuple[str, str], Any] = {}
    for key, call in asked.items():
        if call not in done:
            answers[key] = _Failed(f"no answer within {within_s:g} s")
            continue
        try:
            answers[key] = ray.get(call, timeout=within_s)
        except ray.exceptions.RayError as error:
            answers[key] = _Failed(f"cannot run our checks: {_last_line(error)}")
    return answers


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


# --- the driver's part ------------------------------------------------------------------------


class _Probing:
    """The driver's probe, or why there is none."""

    probe: Probe | None = None
    error = ""
    left: Path | None = None


@contextmanager
def _probing(storage: Path, within_s: float) -> Iterator[_Probing]:
    """Hold the driver's probe, in a thread: a file server that is down lets a process wait forever."""
    made: Future[Probe] = Future()
    over = threading.Event()

    def hold() -> None:
        try:
            with probe_in(storage) as probe:
                made.set_result(probe)
                over.wait()
        except OSError as error:
            if not made.done():
                made.set_exception(error)

    thread = threading.Thread(target=hold, name="probe", daemon=True)
    state = _Probing()
    try:
        thread.start()
        try:
            state.probe = made.result(within_s)
        except TimeoutError:
            state.error = f"no answer within {within_s:g} s"
        except OSError as error:
            state.error = error.strerror or str(error)
        yield state
    finally:
        over.set()
        thread.join(CLEAN_UP_WITHIN_S)
        if state.probe is not None and (thread.is_alive() or state.probe.folder.exists()):
            state.left = state.probe.folder


def _within(work: Callable[[], Any], within_s: float, otherwise: Any) -> Any:
    """The result of `work`, or `otherwise` if it takes longer."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="check", daemon=True).start()
    try:
        return done.result(within_s)
    except TimeoutError:
        return otherwise
