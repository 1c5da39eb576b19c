"""The fork server and its copies: what they take over, how they answer, that they end with their workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import Process, wait_until

from cluster.connect import connect
from cluster.forked import functions
from cluster.forked.copy import Copy
from cluster.forked.functions import call_function
from cluster.forked.messages import ADDRESS, COPY, portable
from cluster.forked.start import can_fork, fork_server
from cluster.forked.trainable import ForkedTrainable, new_trainable
from cluster.packages import stage_packages
from cluster.preloading import Preload

pytestmark = pytest.mark.skipif(not can_fork(), reason="workers are copies on Linux only")

SOURCE = """
import os
import sys
import threading

LOADED_BY = os.getpid()


class Unreadable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def where(argument):
    if argument == "raise":
        raise LookupError("nothing there")
    return os.getpid(), LOADED_BY, argument


def folder(argument):
    return os.getpid(), os.getcwd()


class Looking:
    def setup(self, config):
        self.config = config

    def reset_config(self, config):
        self.config = config
        return True

    def cleanup(self):
        raise OSError("no space")

    def step(self):
        match self.config.get("do"):
            case "raise":
                raise Unreadable("one", "two")
            case "die":
                os._exit(9)
            case "say":
                print("said in the copy")
        return {
            "pid": os.getpid(),
            "loaded by": LOADED_BY,
            "variable": os.environ.get("OF_THE_WORKER"),
            "folder": os.getcwd(),
            "path": sys.path[0],
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "threads": threading.active_count(),
            "config": self.config,
        }
"""
"""A trainable that says where it is."""
NAME = "module_of_a_test:Looking"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that has imported the trainable."""
    (tmp_path / "module_of_a_test.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    packages = stage_packages(tmp_path / "packages", link=True)
    with fork_server(["no_such_module", "module_of_a_test"], packages, {"OMP_NUM_THREADS": "1"}) as found:
        yield found[ADDRESS]


def begun(address: str, **config: Any) -> ForkedTrainable:
    made = ForkedTrainable.begin(NAME, address)
    made.setup(config)
    return made


def test_every_worker_has_a_copy_of_the_process_that_has_imported(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OF_THE_WORKER", "yes")
    monkeypatch.syspath_prepend(tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    one, two = begun(server, number=1), begun(server, number=2)
    seen = [one.step(), two.step()]
    assert seen[0]["loaded by"] == seen[1]["loaded by"]
    assert len({seen[0]["loaded by"], seen[0]["pid"], seen[1]["pid"], os.getpid()}) == 4
    for number, each in enumerate(seen, start=1):
        assert each["config"] == {"number": number}
        assert (each["variable"], each["folder"]) == ("yes", str(tmp_path))
        assert each["path"] == str(tmp_path / "first")
        assert each["nice"] == os.getpriority(os.PRIO_PROCESS, 0)
        assert each["threads"] == 1
        assert Path(f"/proc/{each['pid']}/comm").read_text() == f"{COPY}\n"
    assert one.reset_config({"number": 3})
    again = one.step()
    assert (again["pid"], again["config"]) == (seen[0]["pid"], {"number": 3})


def test_errors_are_those_of_the_trainable_and_leave_it_usable(server: str) -> None:
    made = begun(server, do="raise")
    with pytest.raises(RuntimeError, match="Unreadable: one"):  # it cannot be read again as what it was
        made.step()
    with pytest.raises(OSError, match="no space"):
        made.cleanup()
    assert made.reset_config({})
    assert made.step()["config"] == {}


@pytest.fixture
def no_copy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has called no function yet."""
    monkeypatch.setattr(functions, "_copy", None)


@pytest.mark.usefixtures("no_copy_yet")
def test_all_functions_of_a_process_are_called_in_one_copy(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, server)
    pid, loaded_by, argument = call_function("module_of_a_test:where", {"a": 1})
    assert argument == {"a": 1}
    assert len({os.getpid(), pid, loaded_by}) == 3
    assert call_function("module_of_a_test:folder", None)[0] == pid
    with pytest.raises(LookupError, match="nothing there"):
        call_function("module_of_a_test:where", "raise")
    assert call_function("module_of_a_test:where", 2)[0] == pid


@pytest.mark.usefixtures("no_copy_yet")
def test_after_a_cancelled_call_there_is_a_new_copy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, server)
    before = call_function("module_of_a_test:where", 1)[0]
    with monkeypatch.context() as patched:

        def cancelled(self: Copy, *given: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr(Copy, "call", cancelled)
        with pytest.raises(KeyboardInterrupt):
            call_function("module_of_a_test:where", 2)
    pid, _, argument = call_function("module_of_a_test:where", 3)
    assert argument == 3
    assert pid != before


def test_what_cannot_be_imported_is_an_error_of_the_first_call(server: str) -> None:
    made = ForkedTrainable.begin("no_such_module:Any", server)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        made.setup({})


def test_an_error_that_pickles_stays_itself() -> None:
    error = ValueError("a", 1)
    assert portable(error) is error


def test_a_copy_ends_when_its_worker_lets_go_of_it(server: str) -> None:
    made = begun(server)
    copy = Process.read(made.step()["pid"])
    assert copy is not None
    del made
    wait_until(lambda: not copy.alive, 30.0, 0.01)


WORKER = """
import sys, time
from cluster.forked.trainable import ForkedTrainable

made = ForkedTrainable.begin("module_of_a_test:Looking", sys.argv[1])
made.setup({"do": sys.argv[2]})
print(made.step()["pid"], flush=True)
time.sleep(600)
"""


def worker(address: str, do: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WORKER, address, do], stdout=subprocess.PIPE, text=True)


def test_a_copy_dies_with_its_worker_even_if_it_is_stopped(server: str) -> None:
    with worker(server, "") as started:
        assert started.stdout is not None
        copy = Process.read(int(started.stdout.readline()))
        assert copy is not None
        copy.freeze()  # no code of it runs any more
        started.kill()
    wait_until(lambda: not copy.alive, 30.0, 0.01)


def test_a_worker_dies_with_its_copy(server: str) -> None:
    with worker(server, "die") as started:
        assert started.wait(timeout=300) == -signal.SIGKILL


def test_what_a_copy_prints_is_where_its_worker_prints(server: str) -> None:
    with worker(server, "say") as started:
        assert started.stdout is not None
        said = [started.stdout.readline().strip() for _ in range(2)]
        started.kill()
    assert "said in the copy" in said


@pytest.mark.slow
def test_the_server_dies_with_the_driver(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
from cluster.forked.start import fork_server
from cluster.packages import stage_packages
from chaos import descendants

with fork_server(["colorsys"], stage_packages(Path(sys.argv[1]), link=True), {}):
    print(*[p.pid for p in descendants(os.getpid())], flush=True)
    time.sleep(600)
"""
    path = os.pathsep.join(p for p in sys.path if p)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "packages")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as driver:
        assert driver.stdout is not None
        servers = [Process.read(int(pid)) for pid in driver.stdout.readline().split()]
        driver.kill()
    assert len(servers) == 1
    wait_until(lambda: not any(each is not None and each.alive for each in servers), 30.0, 0.01)


@pytest.mark.parametrize("gone", ["nothing", "refused", "closed"])
def test_without_a_server_the_trainable_is_in_the_worker_itself(
    gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_a_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "module_of_a_test", raising=False)
    address = tmp_path / "socket"
    monkeypatch.setenv(ADDRESS, str(address))
    with socket.socket(socket.AF_UNIX) as listener:
        if gone != "nothing":
            listener.bind(str(address))
        if gone == "closed":
            listener.listen()
            import threading

            threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        made = new_trainable(NAME)
    made.setup({})
    assert made.step()["pid"] == os.getpid()


def test_the_workers_of_ray_find_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    (tmp_path / "module_of_a_test.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    preload = Preload(("colorsys",), 1, forked=("module_of_a_test",))
    with connect(None, threads=1, log=tmp_path / "ray.log", preload=preload):

        @ray.remote
        class Actor:
            def __init__(self, name: str) -> None:
                from cluster.forked.trainable import new_trainable

                self.real = new_trainable(name)
                self.real.setup({})

            def look(self) -> tuple[int, dict[str, Any]]:
                import os

                return os.getpid(), self.real.step()

        actor = Actor.remote(NAME)
        pid, seen = ray.get(actor.look.remote())
        copy = Process.read(seen["pid"])
        assert copy is not None
        assert pid not in (seen["pid"], seen["loaded by"])
        assert seen["nice"] == os.getpriority(os.PRIO_PROCESS, pid)
        ray.kill(actor)
        wait_until(lambda: not copy.alive, 30.0, 0.01)
    assert ADDRESS not in os.environ
