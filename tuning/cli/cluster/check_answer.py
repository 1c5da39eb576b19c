"""The answer of `cluster check`: a table with a row for each node and the problems, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from pydantic import JsonValue

from cluster.health.checks import ClusterFindings, NodeFindings
from cluster.health.clock import ClockOffset
from cluster.health.nodes import other_versions
from cluster.health.problem import Problem, Severity, SharedProblem, share, size_text
from cluster.health.required_files import Contents
from trainables.wording import few, plural
from tuning.cli.console import console, print_columns, print_lines

MOST_TEXTS = 3
"""The different texts of one kind of problem that are printed."""
NOTHING = "–"
Cell = Callable[[NodeFindings], str]


def print_report(found: ClusterFindings, problems: Sequence[Problem], *, joined: bool) -> None:
    """Print the table and the problems. joined: whether the cluster existed before."""
    out = console()
    where = "" if joined else ", a Ray that was started on this machine as `launch` would"
    names, cells = _short_names(found), _columns(found, problems)
    rows = [[names[node.id], *(_cell(cell, node) for cell in cells.values())] for node in found.nodes]
    title = f"{plural(len(found.nodes), 'node')}{where}; storage {found.wanted.storage}"
    print_columns(out, title, ["node", *cells], rows, narrow=True)
    for problem in share(problems):
        style = "red" if problem.severity is Severity.ERROR else "yellow"
        first, *more = _lines(problem)
        print_lines(out, first, style=style)
        print_lines(out, *more)
    print_lines(out, _sum(problems))


def _cell(cell: Cell, node: NodeFindings) -> str:
    return cell(node) or NOTHING


def _sum(problems: Sequence[Problem]) -> str:
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    warnings = len(problems) - errors
    if not problems:
        return "no problems"
    if not errors:
        return f"no errors, {plural(warnings, 'warning')}"
    return (
        f"{plural(errors, 'error')}, {plural(warnings, 'warning')}" if warnings else plural(errors, "error")
    )


def _lines(problem: SharedProblem) -> list[str]:
    head = f"{problem.severity.value}: {few(problem.nodes, 3, counted=True)}"
    texts = list(problem.texts[:MOST_TEXTS])
    if len(problem.texts) > MOST_TEXTS:
        texts[-1] += f"; and {len(problem.texts) - MOST_TEXTS} more of this kind"
    lines = [f"{head}: {texts[0]}"] if len(texts) == 1 else [f"{head}:", *(f"  {text}" for text in texts)]
    return [*lines, f"  {problem.remedy}"]


# --- cells ------------------------------------------------------------------------------------


def _columns(found: ClusterFindings, problems: Sequence[Problem]) -> dict[str, Cell]:
    """The columns after the node's name; those of GPUs and of data only where there are any."""
    worst = _worst(found, problems)
    columns: dict[str, Cell] = {}
    if any(node.gpus or (node.gpu_findings and node.gpu_findings.gpus) for node in found.nodes):
        columns |= {"GPUs, free": _gpus, "CUDA, driver": _driver}
    columns["versions"] = lambda node: _versions(node, found)
    columns["storage"] = _storage
    if found.wanted.paths or found.wanted.model is not None:
        columns["data"] = _data
    columns |= {"clock": _clock, "shm": _shared_memory, "ports": _ports, "files": _open_files}
    columns["result"] = lambda node: "no answer" if node.error else worst[node.id]
    return columns


def result_of(node: NodeFindings, problems: Sequence[Problem]) -> str:
    """`ok`, `warning` or `error`: the worst problem of a node."""
    own = {problem.severity for problem in problems if problem.node == node.node}
    return next((each.value for each in (Severity.ERROR, Severity.WARNING) if each in own), "ok")


def _worst(found: ClusterFindings, problems: Sequence[Problem]) -> dict[str, str]:
    return {node.id: result_of(node, problems) for node in found.nodes}


def _short_names(found: ClusterFindings) -> dict[str, str]:
    """The host's own name where that tells the nodes apart, else the name with the address."""
    hosts = {node.id: node.node.partition(" ")[0].partition(".")[0] for node in found.nodes}
    alone = list(hosts.values())
    return {node.id: host if alone.count(host := hosts[node.id]) == 1 else node.node for node in found.nodes}


def _gpus(node: NodeFindings) -> str:
    gpus = node.gpu_findings.gpus if node.gpu_findings is not None else ()
    free = f", {size_text(sum(gpu.free_mib for gpu in gpus) * 2**20)}" if gpus else ""
    return "" if node.error else f"{node.gpus:g}{free}"


def _driver(node: NodeFindings) -> str:
    found = node.gpu_findings
    if found is None or not found.driver:
        return ""
    return f"{found.torch_cuda or 'none'}, {found.driver.partition('.')[0]}"


def _versions(node: NodeFindings, found: ClusterFindings) -> str:
    if node.seen is None:
        return ""
    return few(list(other_versions(found.here, node.seen)), 2) or "equal"


def _storage(node: NodeFindings) -> str:
    storage = node.storage
    if storage is None:
        return "hangs" if "storage" in node.silent else ""
    if storage.error or storage.shared is False or storage.seen is False:
        return "other" if not storage.error else "fails"
    if storage.claims is False or storage.renames is False:
        return "unsafe"
    return "" if storage.write_ms is None else f"{storage.write_ms:.1f} ms"


def _data(node: NodeFindings) -> str:
    if node.error or "files" in node.silent or "weights" in node.silent:
        return "" if node.error else "hangs"
    missing = [text for text in (node.files or {}).values() if isinstance(text, str)]
    if missing or (node.weights is not None and node.weights.error):
        return "missing"
    return "hub" if node.weights is not None and node.weights.reachable else "there"


def _clock(node: NodeFindings) -> str:
    return "" if node.clock is None else f"{_seconds(node.clock)} s"


def _seconds(clock: ClockOffset) -> str:
    # Below its error an offset says nothing.
    offset = clock.offset_s if clock.least_s > 0 else 0.0
    return f"{offset:+,.1f}" if abs(offset) >= 0.05 else "0"


def _shared_memory(node: NodeFindings) -> str:
    free = node.machine.shared_memory_free if node.machine is not None else None
    return "" if free is None else size_text(free)


def _ports(node: NodeFindings) -> str:
    if node.unreachable is None:
        return ""
    return f"{len(node.unreachable)} closed" if node.unreachable else "open"


def _open_files(node: NodeFindings) -> str:
    if node.machine is None:
        return ""
    soft = node.machine.open_files[0]
    return "no limit" if soft < 0 else f"{soft:,}"


# --- JSON -------------------------------------------------------------------------------------


def answer_json(
    found: ClusterFindings, problems: Sequence[Problem], experiment: str | None, *, joined: bool
) -> JsonValue:
    """The answer for programs, see docs/how-to/run-on-a-cluster.md."""
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    return {
        "joined": joined,
        "storage": str(found.wanted.storage),
        "experiment": experiment,
        "errors": errors,
        "warnings": len(problems) - errors,
        "nodes": [_node_json(node, result_of(node, problems)) for node in found.nodes],
        "problems": [
            {
                "severity": problem.severity.value,
                "check": problem.check,
                "node": problem.node,
                "text": problem.text,
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }


def _node_json(node: NodeFindings, result: str) -> JsonValue:
    return {
        "node": node.node,
        "id": node.id,
        "answers": not node.error,
        "result": result,
        "python": None if node.seen is None else node.seen.python,
        "versions": None if node.seen is None else dict(node.seen.versions),
        "ray": {"cpus": node.cpus, "gpus": node.gpus, "object_store_bytes": node.object_store},
        "machine": None if node.machine is None else asdict(node.machine),
        "gpus": None if node.gpu_findings is None else asdict(node.gpu_findings),
        "storage": None if node.storage is None else asdict(node.storage),
        "data": None if node.files is None else {key: _contents_json(at) for key, at in node.files.items()},
        "weights": None if node.weights is None else asdict(node.weights),
        "object_store": None if node.store is None else asdict(node.store),
        "clock": None if node.clock is None else asdict(node.clock),
        "closed_ports": None
        if node.unreachable is None
        else [
            {"host": each.port.host, "port": each.port.number, "reason": each.reason}
            for each in node.unreachable
        ],
        "unanswered": dict(node.silent),
    }


def _contents_json(at: Contents | str) -> JsonValue:
    return {"error": at} if isinstance(at, str) else asdict(at)
