"""The command `serve`: what it refuses, and a server that is started, looked at and ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from ports import free_port
from typer.testing import Result

from trainables.errors import StorageError
from tuning.cli.live.listening import listening_socket

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["nothing"], "available: digits"),
        (["digits", "--host", "203.0.113.9"], "--host 203.0.113.9 is no address of this machine"),
        (["digits", "--host", "no such host"], "is no address of this machine"),
        (["digits", "--port", "70000"], "Invalid value for '--port'"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_mistakes_are_said_before_anything_is_served(run: Run, asked: list[str], said: str) -> None:
    assert said in " ".join(run("serve", *asked, code=2).stderr.split())


def test_a_port_that_is_taken(run: Run) -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        text = run("serve", "digits", "--port", str(port), code=2).stderr
    assert f"port {port} of 127.0.0.1 is taken" in text
    assert "--port 0" in text


def test_without_the_extra_it_says_how_to_install_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.cli.live.listening.find_spec", lambda name: None)
    assert "pip install 'adaptertune[serve]'" in run("serve", "digits", code=2).stderr


def test_a_port_that_only_the_administrator_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(StorageError, match="choose one from 1024 on"):
        listening_socket("127.0.0.1", 80)


def serve(storage: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, and its first line."""
    command = [sys.executable, "-P", "-X", "importtime", "-m", "tuning.cli", "serve", "digits"]
    process = subprocess.Popen(
        [*command, "--storage", str(storage), *arguments],
        stdout=subprocess.PIPE,
        stderr=(storage / "stderr.txt").open("w"),
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    return process, process.stdout.readline()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended_with_viewers_that_stay(storage: Path, ending: signal.Signals) -> None:
    port = free_port()
    process, line = serve(storage, "--port", str(port))
    try:
        token = re.fullmatch(rf"digits: http://127\.0\.0\.1:{port}/\?token=([\w-]+)\n", line)
        assert token is not None
        gone, stays = (HTTPConnection("127.0.0.1", port, timeout=300) for _ in range(2))
        for viewer in (gone, stays):
            viewer.request("GET", f"/events?token={token[1]}")
            assert viewer.getresponse().readline().startswith(b"id: ")
        gone.close()
        other = HTTPConnection("127.0.0.1", port, timeout=300)
        other.request("GET", f"/?token={token[1]}")
        assert other.getresponse().status == 200
        process.send_signal(ending)
        rest = process.communicate(timeout=300)[0]
    finally:
        process.kill()
    errors = (storage / "stderr.txt").read_text()
    imported = {
        found.split("|")[-1].strip() for found in errors.splitlines() if found.startswith("import time:")
    }
    assert "Traceback" not in errors
    assert "tuning.cli.live.app" in imported
    assert not imported & {"ray", "torch", "optuna", "transformers"}
    if ending == signal.SIGINT:
        assert process.returncode == 0
        assert "the page has ended; the sweeps go on" in rest
    with listening_socket("127.0.0.1", port):
        pass  # the port is free again


def test_ctrl_c_before_the_server_listens_for_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.cli.live.listening.say", lambda text: signal.raise_signal(signal.SIGINT))
    assert "the page has ended" in run("serve", "digits", "--host", "0.0.0.0", "--port", "0").stdout


@pytest.mark.slow
def test_a_host_that_others_reach_is_warned_of(storage: Path) -> None:
    process, line = serve(storage, "--host", "0.0.0.0", "--port", "0", "--read-only")
    try:
        assert f"http://{socket.gethostname()}:" in line
        deadline = time.monotonic() + 60
        while "lets other machines reach" not in (text := (storage / "stderr.txt").read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "can watch these sweeps" in text
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
