"""What is wrong with the storage folder, as the nodes see it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cluster.health.checks import ClusterFindings, NodeFindings
from cluster.health.problem import DRIVER, Problem, Severity, size_text
from cluster.health.storage import Locks

SLOW_MS = 100.0
FULL_BYTES = 16 * 2**20
LOW_BYTES = 2**30
LOW_FILES = 10_000
MOUNT = (
    "storage must be on a file system that every node mounts at the same path: mount it there, or choose"
    " another storage folder"
)
_REMEDIES = {
    errno.EROFS: "mount it for writing, or choose another storage folder with --storage",
    errno.EACCES: "let the user of Ray write there, or choose another storage folder with --storage",
    errno.EPERM: "let the user of Ray write there, or choose another storage folder with --storage",
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there: the quota is used up",
    errno.ESTALE: "mount it anew: the file server no longer knows the folder",
}


def remedy_for(reason: str) -> str:
    """What helps against a failure of the storage. reason: the system's words."""
    found = (remedy for number, remedy in _REMEDIES.items() if os.strerror(number) in reason)
    return next(found, MOUNT)


def storage_problems(found: ClusterFindings) -> Iterator[Problem]:
    """The problems of the storage, from the driver and from the nodes that have answered."""
    folder = found.wanted.storage
    if found.storage_error:
        yield Problem(
            Severity.ERROR,
            "storage",
            DRIVER,
            f"cannot write in the storage folder {folder}: {found.storage_error}",
            remedy_for(found.storage_error),
        )
    if found.left is not None:
        yield Problem(
            Severity.WARNING,
            "storage",
            DRIVER,
            f"could not remove the files of this check in {found.left}",
            "remove them once the file system answers again",
        )
    for node in found.nodes:
        yield from _of_node(node, folder)
    winners = [node for node in found.nodes if node.storage is not None and node.storage.won]
    for node in winners if len(winners) > 1 else ():
        yield Problem(
            Severity.ERROR,
            "storage",
            node.node,
            "created a file that other nodes created at the same time, too",
            _EXCLUSIVE,
        )


_EXCLUSIVE = (
    "two drivers could take one experiment: choose a storage folder on a file system with exclusive"
    " creation, such as NFS version 4, or never start two drivers of one experiment"
)


def _of_node(node: NodeFindings, folder: Path) -> Iterator[Problem]:
    storage = node.storage
    if storage is None:
        return

    def problem(severity: Severity, text: str, remedy: str, check: str = "storage") -> Problem:
        return Problem(severity, check, node.node, text, remedy)

    if storage.shared is False:
        yield problem(Severity.ERROR, f"has another folder at {folder} than the driver", MOUNT)
        return
    if storage.error:
        yield problem(Severity.ERROR, f"cannot use {folder}: {storage.error}", remedy_for(storage.error))
        return
    if storage.seen is False:
        yield problem(Severity.ERROR, f"writes files in {folder} that the driver does not see", MOUNT)
    if storage.claims is False:
        yield problem(Severity.ERROR, "creates a file that the driver has created before", _EXCLUSIVE)
    if storage.renames is False:
        yield problem(
            Severity.ERROR,
            f"cannot replace a file in {folder} by renaming another",
            "checkpoints are replaced so: choose a storage folder on another file system",
        )
    if storage.locks in (Locks.DO_NOT_CROSS, Locks.UNSUPPORTED):
        unseen = storage.locks is Locks.DO_NOT_CROSS
        yield problem(
            Severity.WARNING,
            f"does not see locks of other nodes in {folder}" if unseen else f"cannot lock files in {folder}",
            "sweeps work without: a second driver is refused by its attempt number, too. For locks, mount"
            " NFS without `nolock` and `local_lock`, Lustre with `flock`",
            "locks",
        )
    if storage.write_ms is not None and storage.write_ms >= SLOW_MS:
        yield problem(
            Severity.WARNING,
            f"takes {storage.write_ms:,.0f} ms to store 4 KiB in {folder}",
            "checkpoints and logs are slow then: choose a faster file system, larger checkpoints.every_s,"
            " or `durability: os`",
        )
    yield from _space(node, folder)


def _space(node: NodeFindings, folder: Path) -> Iterator[Problem]:
    assert node.storage is not None
    free, files = node.storage.free_bytes, node.storage.free_files
    if free is not None and free < LOW_BYTES:
        yield Problem(
            Severity.ERROR if free < FULL_BYTES else Severity.WARNING,
            "storage",
            node.node,
            f"has {size_text(free)} free in {folder}",
            "free some space there, or bound the checkpoints with checkpoints.budget_gb",
        )
    if files is not None and files < LOW_FILES:
        yield Problem(
            Severity.WARNING,
            "storage",
            node.node,
            f"can create {files:,} more files in {folder}",
            "remove files there: each trial has about ten",
        )
