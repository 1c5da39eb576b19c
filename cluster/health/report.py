"""What is wrong with a cluster, from what its nodes have found: each problem in words, with a remedy."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.health.checks import ClusterFindings, NodeFindings
from cluster.health.gpu_report import gpu_problems
from cluster.health.machine_report import machine_problems, token_problem
from cluster.health.nodes import other_versions, same_python
from cluster.health.problem import DRIVER, Problem, Severity
from cluster.health.required_files import Contents
from cluster.health.storage_report import storage_problems

APART_S = 5.0
"""Seconds by which clocks may differ."""
_NEEDED = ("torch", "transformers", "peft", "numpy", "pyarrow")
"""Libraries without which no trial runs."""
_INSTALL = "install the driver's versions there: `pip install -c constraints.txt adaptertune`"
_FIREWALL = (
    "let the nodes reach each other's ports; `ray start` takes fixed ones: --node-manager-port,"
    " --object-manager-port, --min-worker-port, --max-worker-port"
)
_UNANSWERED = {
    "storage": ("storage", "the storage", "see whether the file server answers: `ls` there hangs, too"),
    "files": (
        "data",
        "the paths of data and model",
        "see whether the file server answers: `ls` there hangs, too",
    ),
    "gpu_findings": ("gpus", "its GPUs", "run `nvidia-smi` there; restart the machine if it hangs, too"),
    "cache": ("data", "the cache of prepared data", "see whether the file server answers: `ls` there hangs"),
    "weights": ("weights", "the weights on the hub", "see whether the hub can be reached from there"),
    "store": ("store", "the object store", "see whether the object store can be reached from there"),
    "machine": ("memory", "its memory and limits", "see whether the machine is overloaded"),
    "unreachable": ("ports", "the ports of other nodes", "see whether the machine is overloaded"),
}


def find_problems(found: ClusterFindings) -> list[Problem]:
    """All problems, in the order of the checks."""
    problems = [problem for node in found.nodes for problem in _of_answer(node)]
    answered = [node for node in found.nodes if not node.error]
    for node in answered:
        problems += _versions(node, found)
        problems += gpu_problems(node)
    problems += storage_problems(found)
    problems += _files(found)
    for node in answered:
        problems += _weights_and_store(node, found)
        problems += _clock(node)
        problems += machine_problems(node)
    problems += _token(found)
    return problems + list(_ports(found))


def _of_answer(node: NodeFindings) -> Iterator[Problem]:
    if node.error:
        yield Problem(
            Severity.ERROR,
            "answer",
            node.node,
            _said(node.error),
            "see whether the machine is up, and the logs of Ray there (/tmp/ray/session_latest/logs); a"
            " firewall must let the driver reach the ports of workers; or take the node out of the"
            " cluster",
        )
    for check, reason in node.silent.items():
        name, what, remedy = _UNANSWERED[check]
        yield Problem(Severity.ERROR, name, node.node, f"{_said(reason)} about {what}", remedy)


def _said(reason: str) -> str:
    """A reason as what a node does: "no answer" is what it gives."""
    return f"gives {reason}" if reason.startswith("no ") else reason


def _versions(node: NodeFindings, found: ClusterFindings) -> Iterator[Problem]:
    if node.seen is None:
        return
    if not same_python(found.here, node.seen):
        yield Problem(
            Severity.ERROR,
            "versions",
            node.node,
            f"runs Python {node.seen.python}, the driver {found.here.python}: they cannot exchange objects",
            "install the same version there",
        )
    for package, what in other_versions(found.here, node.seen).items():
        if package not in node.seen.versions and package in _NEEDED:
            yield Problem(Severity.ERROR, "versions", node.node, f"has no {package}", _INSTALL)
        else:
            text = f"has {package} {what}; metrics may differ between nodes"
            yield Problem(Severity.WARNING, "versions", node.node, text, _INSTALL)


def _files(found: ClusterFindings) -> Iterator[Problem]:
    for key, here in found.here_files.items():
        path = found.wanted.paths[key]
        if isinstance(here, str):
            yield Problem(
                Severity.ERROR,
                "data",
                DRIVER,
                f"cannot read {key}: {path}: {here}",
                "correct the path in the file",
            )
            continue
        for node in found.nodes:
            there = (node.files or {}).get(key)
            if isinstance(there, str) and not (key.startswith("data.") and shares_cache(node, found)):
                yield Problem(
                    Severity.ERROR, "data", node.node, f"cannot read {key}: {path}: {there}", _absent(key)
                )
            elif isinstance(there, Contents) and there != here:
                yield Problem(
                    Severity.WARNING,
                    "data",
                    node.node,
                    f"has {there.words} at {path}, and the driver {_words(here)} ({key})",
                    "copy it again from the driver, or mount it at the same path",
                )


def shares_cache(node: NodeFindings, found: ClusterFindings) -> bool:
    """Whether a node sees the driver's cache, so that the data are prepared for it already."""
    return found.here_cache is not None and node.cache == found.here_cache


def _absent(key: str) -> str:
    if not key.startswith("data."):
        return "copy it to the same path there, or mount it"
    return (
        "copy it to the same path there, or mount it; or put ADAPTERTUNE_CACHE on a file system that"
        " every node mounts: then only the driver needs the data"
    )


def _words(contents: Contents | str) -> str:
    return contents if isinstance(contents, str) else contents.words


def _weights_and_store(node: NodeFindings, found: ClusterFindings) -> Iterator[Problem]:
    weights, model = node.weights, found.wanted.model
    if weights is not None and model is not None and weights.error:
        yield Problem(
            Severity.ERROR,
            "weights",
            node.node,
            f"does not have the weights of {model.name}, and cannot download them: {weights.error}",
            f"`hf download {model.name}` there, or set HF_HOME to a folder that all nodes mount and that"
            " has them; for private models set HF_TOKEN before `ray start`",
        )
    if node.store is not None and node.store.error:
        yield Problem(
            Severity.ERROR,
            "store",
            node.node,
            node.store.error,
            "give the credentials to the environment of `ray start` there (docs/how-to/object-storage.md)",
        )


def _clock(node: NodeFindings) -> Iterator[Problem]:
    if node.clock is None:
        yield Problem(
            Severity.WARNING,
            "clock",
            node.node,
            "did not say its time",
            "see whether the machine is overloaded, and compare its clock",
        )
    elif node.clock.least_s > APART_S:
        way = "ahead of" if node.clock.offset_s > 0 else "behind"
        yield Problem(
            Severity.WARNING,
            "clock",
            node.node,
            f"has a clock {abs(node.clock.offset_s):,.1f} s {way} the driver's",
            "run a time service there (chrony, `timedatectl set-ntp true`): requests such as `pause` and"
            " `stop` are taken in the order of the clocks they come from, times in logs cannot be"
            " compared, and `status` may misjudge the age of a driver's heartbeat",
        )


def _token(found: ClusterFindings) -> Iterator[Problem]:
    """The driver's, unless its node has told of the same file."""
    told = {node.machine.exposed_token for node in found.nodes if node.machine is not None}
    if found.here_token is not None and found.here_token not in told:
        yield token_problem(DRIVER, found.here_token)


def _ports(found: ClusterFindings) -> Iterator[Problem]:
    closed: dict[tuple[str, str], dict[str, str]] = {}
    for node in found.nodes:
        for each in node.unreachable or ():
            port = each.port
            at = f"its {port.name} ({port.host}:{port.number})"
            closed.setdefault((found.name_of(port.node), at), {})[node.node] = each.reason
    for (target, at), sources in closed.items():
        some = ", ".join(list(sources)[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
        reason = next(iter(sources.values()))
        yield Problem(
            Severity.ERROR, "ports", target, f"cannot be reached at {at} from {some}: {reason}", _FIREWALL
        )
