"""What is wrong with what a node gives its processes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from cluster.health.checks import NodeFindings
from cluster.health.machine import SHARED_MEMORY, Machine
from cluster.health.problem import Problem, Severity, size_text
from cluster.ray_folder import SOCKET_BYTES

FEWEST_FILES = 4096
"""Below it Ray itself warns."""
FILES = 65536
WORKER_BYTES = 512 * 2**20
"""About what a worker takes before it loads a model: torch, transformers and peft (400 MiB, 2026-11)."""
SHARED_MEMORY_FREE = 64 * 2**20
TEMPORARY_FREE = 2**30
_SOCKET_BELOW = len("/pymp-xxxxxxxx/listener-xxxxxxxx")
"""What Python's multiprocessing adds to the temporary folder."""
LONGEST_TEMPORARY = SOCKET_BYTES - _SOCKET_BELOW


def machine_problems(node: NodeFindings) -> Iterator[Problem]:
    """The problems of a node that has answered."""
    machine = node.machine
    if machine is None:
        return
    yield from _resources(node, machine)
    yield from _shared_memory(node, machine)
    soft, hard = machine.open_files
    if 0 <= soft < FEWEST_FILES:
        limit = "" if hard >= FILES or hard < 0 else f"; the hard limit of {hard:,} has to be raised, too"
        yield Problem(
            Severity.WARNING,
            "open_files",
            node.node,
            f"lets a process open {soft:,} files{limit}",
            f"`ulimit -n {FILES}` before `ray start` there; in a container `--ulimit"
            f" nofile={FILES}:{FILES}`, in a systemd unit `LimitNOFILE={FILES}`",
        )
    yield from _temporary(node, machine)
    if machine.exposed_token is not None:
        yield token_problem(node.node, machine.exposed_token)


def token_problem(node: str, path: str) -> Problem:
    """Other users of the machine can read Ray's token."""
    return Problem(
        Severity.WARNING,
        "token",
        node,
        f"has the token of Ray in {path}, which other users of the machine can read, and run programs in the"
        " cluster with it",
        f"`chmod 600 {shlex.quote(path)}` there; if others use the machine, stop the cluster, write a new"
        " token, and start it again",
    )


def _resources(node: NodeFindings, machine: Machine) -> Iterator[Problem]:
    if node.cpus > machine.cpus:
        yield Problem(
            Severity.WARNING,
            "cpus",
            node.node,
            f"offers {node.cpus:g} CPUs to Ray, of which its processes may use {machine.cpus}",
            f"start Ray there with `--num-cpus {machine.cpus}`",
        )
    workers = max(1.0, node.gpus or node.cpus)
    if machine.memory_free is not None and machine.memory_free < workers * WORKER_BYTES:
        yield Problem(
            Severity.WARNING,
            "memory",
            node.node,
            f"has {size_text(machine.memory_free)} of memory free for up to {workers:g} workers",
            f"a worker takes about {size_text(WORKER_BYTES)}, and its model and data: set"
            " resources.concurrent, or more resources.cpus for each worker, or free some memory there",
        )


def _shared_memory(node: NodeFindings, machine: Machine) -> Iterator[Problem]:
    total, free = machine.shared_memory, machine.shared_memory_free
    if total is None or free is None:
        return
    if node.object_store is not None and total < node.object_store:
        yield Problem(
            Severity.WARNING,
            "shared_memory",
            node.node,
            f"has {size_text(total)} in {SHARED_MEMORY}, less than Ray's object store of"
            f" {size_text(node.object_store)}, so that Ray keeps it on a disk",
            "in a container start with `--shm-size 8g` or mount a larger emptyDir with medium Memory"
            " there; or `ray start --object-store-memory` with less",
        )
    elif free < SHARED_MEMORY_FREE:
        yield Problem(
            Severity.WARNING,
            "shared_memory",
            node.node,
            f"has {size_text(free)} free in {SHARED_MEMORY}",
            f"see with `ls -l {SHARED_MEMORY}` what ended processes have left there, and remove it",
        )


def _temporary(node: NodeFindings, machine: Machine) -> Iterator[Problem]:
    folder, free = machine.temporary, machine.temporary_free
    length = len(os.fsencode(folder))
    if machine.temporary_error:
        yield Problem(
            Severity.ERROR,
            "temporary",
            node.node,
            f"cannot write temporary files in {folder}: {machine.temporary_error}",
            "set TMPDIR to a folder that can be written before `ray start` there",
        )
    elif free is not None and free < TEMPORARY_FREE:
        yield Problem(
            Severity.WARNING,
            "temporary",
            node.node,
            f"has {size_text(free)} free in {folder}",
            "free some space there, or set TMPDIR to another disk before `ray start`",
        )
    if length > LONGEST_TEMPORARY:
        yield Problem(
            Severity.WARNING,
            "temporary",
            node.node,
            f"has a temporary folder with a path of {length} bytes, too long for sockets in it: {folder}",
            f"set TMPDIR to a folder with at most {LONGEST_TEMPORARY} bytes, such as /tmp, before `ray"
            " start` there",
        )
