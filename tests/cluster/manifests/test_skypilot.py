"""The task file for SkyPilot. Its own loader reads it in `tests/acceptance/test_skypilot.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jobs import EXPERIMENT, check_shell, job, skypilot
from ports import free_port

from cluster.manifests.skypilot import run_script, skypilot_task

RAY = """\
#!{python}
import socket, sys, time
if "broken" in open({mode!r}).read():
    print("no luck today")
    sys.exit(3)
if ("no grpc" in open({mode!r}).read()) == ("--ray-client-server-port" in sys.argv) and "--head" in sys.argv:
    print("ValueError: Ray Client requires pip package ray[client]")
    sys.exit(1)
head = "--head" in sys.argv
if head:
    server = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
    while True:
        server.accept()[0].close()
open({joined!r}, "w").close()
host, port = sys.argv[sys.argv.index("--address") + 1].split(":")
while True:
    try:
        socket.create_connection((host, int(port))).close()
    except OSError:
        sys.exit(1)  # as Ray does when its head is gone
    time.sleep(0.1)
"""
"""A stand-in for `ray start --block`: the head answers at its port, the others live as long as it does."""
PYTHON = """\
#!/bin/sh
if [ "$2" = "import grpc" ]; then ! grep -q "no grpc" "{mode}"; exit; fi
echo "waits for $5 nodes" >&2
until [ -e "{joined}" ]; do sleep 0.1; done
"""


def task(**keys: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(skypilot_task(skypilot(**keys), job()))
    return loaded


def test_the_task_asks_for_what_the_profile_says() -> None:
    found = task(
        nodes=3, gpus=2, gpu_type="L4", memory="1536MiB", infra="aws/us-east-1", image="registry.example/a:1",
        spot=True, volume="experiments", setup=["pip install x", "mount-it"],
    )  # fmt: skip
    assert found["name"] == "nuclei-1"
    assert found["num_nodes"] == 3
    assert found["resources"] == {
        "infra": "aws/us-east-1",
        "cpus": "4+",
        "memory": "2+",
        "accelerators": "L4:2",
        "image_id": "docker:registry.example/a:1",
        "use_spot": True,
    }
    assert found["volumes"] == {"/mnt/experiments": "experiments"}
    assert found["setup"] == "set -e\npip install x\nmount-it\n"


def test_what_a_profile_leaves_out_is_left_to_skypilot() -> None:
    found = task()
    assert found["resources"] == {"cpus": "4+"}
    assert not {"volumes", "setup"} & found.keys()


def test_without_the_token_the_task_ends_at_once_and_says_so() -> None:
    variables = {"PATH": os.environ["PATH"], "SKYPILOT_NODE_IPS": "127.0.0.1", "SKYPILOT_NODE_RANK": "0"}
    done = subprocess.run(
        ["bash", "-c", run_script(skypilot(), job())],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "RAY_AUTH_TOKEN: is missing; launch the task with --secret RAY_AUTH_TOKEN" in done.stderr


def test_bash_and_shellcheck_accept_the_script(tmp_path: Path) -> None:
    for of in (job(), job(experiment=EXPERIMENT + "END_OF_TEXT\n"), job(experiment=None)):
        check_shell(run_script(skypilot(cache="/c a/'b"), of), tmp_path)


@pytest.fixture
def machines(tmp_path: Path) -> Callable[..., list[tuple[int, str]]]:
    """Runs the script on two machines at once, which are both this one; returns their codes and outputs."""
    programs, storage, mode = tmp_path / "programs", tmp_path / "storage", tmp_path / "mode"
    joined = tmp_path / "joined"
    programs.mkdir()
    for name, text in (
        ("ray", RAY.format(python=sys.executable, mode=str(mode), joined=str(joined))),
        ("adaptertune", f'#!/bin/sh\necho "$@"; cat "$2" 2>/dev/null; exit $(head -n 1 "{mode}")\n'),
        ("python", PYTHON.format(mode=str(mode), joined=str(joined))),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(said: str, *, wait: str = "10min", **fields: Any) -> list[tuple[int, str]]:
        mode.write_text(said)
        script = run_script(skypilot(storage=str(storage), wait_for_nodes=wait), job(**fields))
        script = script.replace("port=6391", f"port={free_port()}")
        begun = [
            subprocess.Popen(
                ["bash", "-c", script],
                env=os.environ
                | {
                    "PATH": f"{programs}:{os.environ['PATH']}",
                    "RAY_AUTH_TOKEN": "0" * 64,
                    "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
                    "SKYPILOT_NODE_RANK": str(rank),
                    "SKYPILOT_NUM_NODES": "2",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in (1, 0)
        ]
        worker, head = ((process.communicate(timeout=300)[0], process.returncode) for process in begun)
        return [(head[1], head[0]), (worker[1], worker[0])]

    return run


@pytest.mark.parametrize("code", [0, 75])
def test_the_head_runs_the_driver_and_the_others_end_with_it(machines: Any, code: int) -> None:
    head, worker = machines(str(code))
    assert head[0] == code
    assert "waits for 2 nodes" in head[1]
    assert "launch /tmp/at-" in head[1]
    assert EXPERIMENT in head[1]
    assert worker == (0, "")


def test_an_experiment_that_exists_is_resumed(machines: Any, tmp_path: Path) -> None:
    head, _ = machines("0", experiment=None)
    assert f"resume nuclei --storage {tmp_path}/storage --address 127.0.0.1:" in head[1]


def test_where_there_is_no_grpc_ray_is_given_no_port_for_its_client(machines: Any) -> None:
    head, _ = machines("0\nno grpc")
    assert head[0] == 0, head[1]


def test_a_ray_that_does_not_start_is_said(machines: Any) -> None:
    head, worker = machines("broken", wait="3s")
    assert head[0] == 1
    assert "Ray did not start:\nno luck today" in head[1]
    assert worker[0] == 1
    assert "did not answer within 3 s" in worker[1]
