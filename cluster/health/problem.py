"""A problem of a cluster, and several nodes that have the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DRIVER = "the driver"


class Severity(StrEnum):
    """Whether sweeps fail or go wrong with a problem, or only may be slower or differ."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """A problem of a node.

    check: what found it, such as `storage`.  text: begins with a verb; the node's name goes before it.
    """

    severity: Severity
    check: str
    node: str
    text: str
    remedy: str


@dataclass(frozen=True)
class SharedProblem:
    """A problem with one remedy that one or several nodes have."""

    severity: Severity
    check: str
    remedy: str
    nodes: tuple[str, ...]
    texts: tuple[str, ...]
    """The different texts, in the order of the nodes."""


def share(problems: Sequence[Problem]) -> list[SharedProblem]:
    """Problems with the same remedy as one; errors first."""
    found: dict[tuple[Severity, str, str], list[Problem]] = {}
    for problem in problems:
        found.setdefault((problem.severity, problem.check, problem.remedy), []).append(problem)
    shared = [
        SharedProblem(
            severity,
            check,
            remedy,
            tuple(dict.fromkeys(each.node for each in same)),
            tuple(dict.fromkeys(each.text for each in same)),
        )
        for (severity, check, remedy), same in found.items()
    ]
    return sorted(shared, key=lambda each: each.severity is not Severity.ERROR)


def size_text(size: float) -> str:
    """A number of bytes with a binary unit: `64 MiB`, `1.5 GiB`."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}" if size < 10 and units[0] != "bytes" else f"{size:,.0f} {units[0]}"
