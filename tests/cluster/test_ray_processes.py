from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import descendants
from ray._private.node import Node

from cluster import ray_processes
from cluster.connect import connect
from cluster.ray_processes import only_needed_processes, own_signal_handlers

UNUSED = ("dashboard.py", "monitor.py", "log_monitor.py")


@pytest.fixture
def methods() -> Iterator[dict[str, Any]]:
    """Ray's methods, which must be in their places again."""
    before = {name: getattr(Node, name) for name in ray_processes._UNUSED}
    yield before
    assert {name: getattr(Node, name) for name in before} == before


def test_a_ray_on_this_machine_starts_what_it_needs_and_no_more(
    methods: dict[str, Any], tmp_path: Path
) -> None:
    import os

    import ray

    with connect(None, threads=1, log=tmp_path / "ray.log"):
        started = [process.name for process in descendants(os.getpid())]
        assert ray.get(ray.remote(lambda: 1 + 1).remote()) == 2
    assert any("gcs_server" in name for name in started)
    assert any("raylet" in name for name in started)
    assert [name for name in started if any(script in name for script in UNUSED)] == []
    assert not (tmp_path / "ray.log").exists()


def test_the_methods_are_put_back_after_an_error(methods: dict[str, Any]) -> None:
    def use() -> None:
        with only_needed_processes():
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        use()


def test_a_ray_without_such_a_method_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Node, "start_monitor")
    before = Node.start_log_monitor
    with only_needed_processes():
        assert not hasattr(Node, "start_monitor")
        assert Node.start_log_monitor is not before
    assert not hasattr(Node, "start_monitor")


def test_a_handler_that_compiled_code_installs_does_not_stay() -> None:
    noted: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    try:
        with own_signal_handlers():  # Python does not see what this installs, as it does not see Ray's
            ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(1))  # SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        assert noted == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


ENDS_SLOWLY = """
import os, signal, sys, time
from pathlib import Path
from cluster.connect import connect
signal.signal(signal.SIGTERM, lambda *given: print("noted", flush=True))
with connect(None, threads=1, log=Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGTERM)
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        time.sleep(0.1)
print("ended in good order")
"""


@pytest.mark.slow
def test_a_driver_that_takes_its_time_after_sigterm_is_not_aborted(tmp_path: Path) -> None:
    """Ray's compiled part has a handler that aborts the process after three seconds."""
    command = [sys.executable, "-P", "-c", ENDS_SLOWLY, str(tmp_path / "ray.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "noted\nended in good order\n"), done.stderr
    assert "SIGTERM received" not in done.stderr
