"""Checks each node of an existing cluster before a sweep starts there, with one small task per node.

Ray itself refuses nodes with another Ray or Python. It does not check whether a node sees
the experiment's folder, and has the same versions of the libraries that metrics depend on.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cluster.node_setup import node_name

ANSWERS_WITHIN_S = 60.0
"""Seconds to wait for a node; its first worker has to start, and to download our packages."""
COMPARED = ("ray", "torch", "transformers", "peft", "optuna", "numpy", "pyarrow")


@dataclass(frozen=True)
class Seen:
    """The state of a node. record: the digest of its experiment's record, None if there is no record."""

    node: str
    python: str
    versions: Mapping[str, str] = field(default_factory=dict)
    record: str | None = None


def inspect_node(record: Path | None = None) -> dict[str, Any]:
    """A node's `Seen` as a dictionary. record: the path of the experiment's record, if there is one."""
    return {
        "node": node_name(),
        "python": platform.python_version(),
        "versions": installed_versions(),
        "record": None if record is None else first_line(record),
    }


def installed_versions() -> dict[str, str]:
    """The versions of the compared libraries."""
    found = {}
    for package in COMPARED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def first_line(record: Path) -> str | None:
    """A digest of a record's first line, which identifies the experiment; None if there is no record."""
    try:
        with record.open("rb") as file:
            return sha256(file.readline()).hexdigest()
    except OSError:
        return None


def node_errors(here: Seen, there: Sequence[Seen], folder: Path) -> list[str]:
    """Why a sweep of the driver `here` must not start, one line per node."""
    found = []
    for node in there:
        if not same_python(here, node):
            found.append(
                f"node {node.node} runs Python {node.python}, the driver {here.python}: they cannot"
                " exchange objects; install the same version there"
            )
        elif node.record is None:
            found.append(
                f"node {node.node} does not see the experiment's folder {folder}: storage must be on a file"
                " system that every node mounts at the same path; mount it there, or choose another storage"
                " folder"
            )
        elif node.record != here.record:
            found.append(
                f"node {node.node} has another folder at {folder}, not that of this experiment: mount the"
                " shared file system there, or choose another storage folder"
            )
    return found


def same_python(here: Seen, there: Seen) -> bool:
    """Whether two nodes can exchange objects, which depends on Python's minor version."""
    return there.python.split(".")[:2] == here.python.split(".")[:2]


def other_versions(here: Seen, there: Seen) -> dict[str, str]:
    """The compared libraries that differ: `{"torch": "2.9.0 instead of 2.13.0"}`."""
    return {
        package: f"{found} instead of {own}"
        for package in COMPARED
        if (found := there.versions.get(package, "none")) != (own := here.versions.get(package, "none"))
    }


def node_notes(here: Seen, there: Sequence[Seen]) -> list[str]:
    """Differences that the user should know but that do not stop a sweep, one line each."""
    differing: dict[tuple[str, str], list[str]] = {}
    for node in there:
        for package, what in other_versions(here, node).items():
            differing.setdefault((package, what), []).append(node.node)
    return [
        f"{package} {what} on {_listed(nodes)}; metrics may differ between nodes"
        for (package, what), nodes in differing.items()
    ]


def _listed(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return ", ".join(nodes[:3]) + more


def examine_nodes(record: Path) -> tuple[list[str], list[str]]:
    """Errors and notes on the nodes of the cluster that this process is connected to.

    record: the experiment's. A node that does not answer in `ANSWERS_WITHIN_S` gets a note.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = Seen("", platform.python_version(), installed_versions(), first_line(record))
    asked = {}
    for node in (n for n in ray.nodes() if n["Alive"]):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(inspect_node)
        asked[task.remote(record)] = node["NodeManagerAddress"]
    done, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWERS_WITHIN_S)
    seen: list[Seen] = []
    unheard = [f"node {asked[task]} did not answer within {ANSWERS_WITHIN_S:g} s" for task in silent]
    for task in silent:
        ray.cancel(task, force=True)
    for task in done:
        try:
            seen.append(Seen(**ray.get(task)))
        except ray.exceptions.RayError as error:  # the node is gone, or its installation is broken
            said = (str(error).strip().splitlines() or ["no reason given"])[-1]
            unheard.append(f"node {asked[task]} cannot run our tasks: {said}")
    return node_errors(here, seen, record.parent), unheard + node_notes(here, seen)
