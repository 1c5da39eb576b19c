"""`adaptertune cluster check` on real Ray nodes of this machine, each with a fault of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from marks import exhaustive
from raylets import Raylets, raylets, require_hiding

from tuning.exit_codes import FAILED, INTERRUPTED, PREEMPTED, USER_ERROR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
WITHIN_S = 600.0
AHEAD_S = 3600
"""How far the clock of the second node is ahead."""
ODD_NODE = f"""
import resource, time
now = time.time
time.time = lambda: now() + {AHEAD_S}
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""
"""What Python runs first on the second node."""


def check(cluster: Raylets, storage: Path, *arguments: str) -> tuple[int, Any]:
    """The exit code and the answer of a check in a process of its own; nothing is left in the storage."""
    done = subprocess.run(
        [*command(cluster, storage), "--json", *arguments],
        cwd=storage.parent, env=os.environ | cluster.environment, capture_output=True, text=True, check=False,
        timeout=WITHIN_S,
    )  # fmt: skip
    assert probes(storage) == []
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def command(cluster: Raylets, storage: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "tuning.cli", "cluster", "check", "--address", cluster.address,
            "--storage", str(storage)]  # fmt: skip


def probes(storage: Path) -> list[str]:
    return [name for name in os.listdir(storage) if name.startswith(".adaptertune-check-")]


def told(answer: Any) -> set[tuple[str, str]]:
    return {(problem["severity"], problem["check"]) for problem in answer["problems"]}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def cluster(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raylets]:
    """A head in order; a node with another clock, version and limit; one that does not see the storage."""
    odd = tmp_path_factory.mktemp("odd")
    (odd / "sitecustomize.py").write_text(ODD_NODE)
    (odd / "optuna-4.0.0.dist-info").mkdir()
    (odd / "optuna-4.0.0.dist-info" / "METADATA").write_text("Name: optuna\nVersion: 4.0.0\n")
    require_hiding(storage)
    with raylets() as started:
        started.add()
        started.add(PYTHONPATH=str(odd))
        started.add(hidden=[storage])
        yield started


def test_each_node_has_its_fault_and_the_head_has_none(cluster: Raylets, storage: Path) -> None:
    code, answer = check(cluster, storage)
    assert code == FAILED
    assert answer["joined"]
    assert len({node["node"] for node in answer["nodes"]}) == 3
    by_optuna = {node["versions"]["optuna"]: node for node in answer["nodes"] if node["storage"]["shared"]}
    odd = by_optuna.pop("4.0.0")
    (head,) = by_optuna.values()
    (apart,) = (node for node in answer["nodes"] if not node["storage"]["shared"])
    problems = {node["node"]: set() for node in answer["nodes"]}
    for problem in answer["problems"]:
        problems[problem["node"]].add((problem["severity"], problem["check"]))
    assert problems[odd["node"]] - problems[head["node"]] == {
        ("warning", "clock"), ("warning", "versions"), ("warning", "open_files"),
    }  # fmt: skip
    assert problems[apart["node"]] - problems[head["node"]] == {("error", "storage")}
    assert not any(severity == "error" for severity, _ in problems[head["node"]])
    assert odd["clock"]["offset_s"] == pytest.approx(AHEAD_S, abs=60.0)
    assert (head["storage"]["locks"], odd["storage"]["locks"]) == ("cross", "cross")
    assert sorted((head["storage"]["won"], odd["storage"]["won"])) == [False, True]
    assert all(node["closed_ports"] == [] for node in answer["nodes"])


@pytest.mark.parametrize(
    ("number", "code"),
    [
        exhaustive(signal.SIGINT, INTERRUPTED, id="ctrl-c"),
        pytest.param(signal.SIGTERM, PREEMPTED, id="sigterm"),
    ],
)
def test_a_signal_ends_it_and_leaves_nothing(cluster: Raylets, storage: Path, number: int, code: int) -> None:
    process = subprocess.Popen(
        command(cluster, storage), cwd=storage.parent, env=os.environ | cluster.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait(lambda: bool(probes(storage)) or process.poll() is not None)
        process.send_signal(number)
        out, said = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
    assert process.returncode == code, said
    assert out == ""
    assert "Traceback" not in said
    assert probes(storage) == []


def test_a_node_that_hangs_is_a_row_and_holds_up_nothing(cluster: Raylets, storage: Path) -> None:
    (raylet,) = cluster.nodes[1].processes("raylet")
    os.kill(raylet.pid, signal.SIGSTOP)
    try:
        code, answer = check(cluster, storage, "--timeout", "30")
    finally:
        os.kill(raylet.pid, signal.SIGCONT)
    assert code == FAILED
    assert [node["answers"] for node in answer["nodes"]].count(False) == 1
    assert ("error", "answer") in told(answer)


def test_an_address_at_which_nobody_answers_is_refused(cluster: Raylets, storage: Path) -> None:
    done = subprocess.run(
        [*command(cluster, storage), "--address", "127.0.0.1:1"],
        cwd=storage.parent, capture_output=True, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip
    assert done.returncode == USER_ERROR
    assert "no Ray cluster answers at 127.0.0.1:1" in done.stderr
    assert done.stdout == ""


def wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)
