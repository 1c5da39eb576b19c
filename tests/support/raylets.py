"""A Ray cluster of several nodes on this machine: one `ray start` per node, each with its own processes."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chaos import Process, descendants, freeze
from ports import free_port

UP_WITHIN_S = 400.0
STARTS = 4
_TOO_BUSY = "timed out during startup"
"""What Ray says of a node that was not up within 30 s, which cannot be set."""
DOWN_WITHIN_S = 200.0


@dataclass(frozen=True)
class Raylet:
    """A node: its `ray start --block` process, and the output of that."""

    process: subprocess.Popen[bytes]
    output: Path

    def wait_until_up(self, *, again: bool = False) -> bool:
        """Wait until the node is up. Raises AssertionError if it ends first, or takes too long.

        again: whether it may be started once more; False if it must be, as this machine was too busy.
        """
        deadline = time.monotonic() + UP_WITHIN_S
        while "Ray runtime started" not in (said := self.output.read_text(errors="replace")):
            if again and self.process.poll() is not None and _TOO_BUSY in said:
                return False
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        return True

    def processes(self, name: str) -> list[Process]:
        """The node's processes with a program of this name: `raylet`, `gcs_server`."""
        return [p for p in descendants(self.process.pid) if Path(p.name.split()[0]).name == name]

    def workers(self) -> list[Process]:
        """The node's processes that hold an actor."""
        return [p for p in descendants(self.process.pid) if p.holds_an_actor]

    def kill(self) -> None:
        """Send `kill -9` to its raylet, as if the machine had failed. Its workers notice it and exit."""
        for each in self.processes("raylet"):
            each.kill()

    def kill_all(self) -> None:
        """Send `kill -9` to all its processes at once, including its raylet and control process."""
        below = descendants(self.process.pid)
        self.process.kill()
        for each in below:
            each.kill()
        self.process.wait()

    def freeze(self) -> list[Process]:
        """Suspend all its processes, as if the machine stood still; returns them, for `thaw`."""
        return freeze(self.process.pid)

    def leave(self) -> None:
        """Shut the node down with SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=DOWN_WITHIN_S)


@dataclass(frozen=True)
class Raylets:
    """The cluster. Its token excludes other users, and other clusters of this machine."""

    folder: Path
    address: str
    nodes: list[Raylet] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a process needs to connect."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return token | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "120000"}

    def add(
        self,
        *,
        cpus: int = 1,
        gpus: int = 0,
        hidden: Sequence[Path] = (),
        inside: Sequence[str] = (),
        options: Sequence[str] = (),
        **environment: str,
    ) -> Raylet:
        """Add a node, and wait until it is up; the first one is the head. environment: the node's variables.

        gpus: as many as Ray is told; there need not be one.
        hidden: folders that it does not see, as if it were another machine; see `require_hiding`.
        inside: the start of its command line, such as of a program that runs it in a namespace.
        options: more of `ray start`.
        Add nodes one after the other: nodes that start at once on one machine choose the same socket names.
        """
        _, _, port = self.address.rpartition(":")
        command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start"]
        place = (
            ("--head", "--port", port, "--include-dashboard", "false") if not self.nodes
            else ("--address", self.address)
        )  # fmt: skip
        if not self.nodes and "--temp-dir" not in options:
            options = (*options, "--temp-dir", str(self.folder))
        # Without a folder of its own, `ray start` leaves its address to every `ray.init` of this machine.
        own = {"OMP_NUM_THREADS": "1", "RAY_TMPDIR": str(self.folder)}
        output = self.folder / f"node-{len(self.nodes)}.txt"
        for more in reversed(range(STARTS)):
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [*inside, *_hiding(hidden), *command, *place, *options, "--num-cpus", str(cpus),
                     "--num-gpus", str(gpus), "--disable-usage-stats", "--block"],
                    cwd=self.folder,
                    env=os.environ | self.environment | own | environment,
                    stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                )  # fmt: skip
            self.nodes.append(Raylet(process, output))
            if self.nodes[-1].wait_until_up(again=more > 0):
                break
            self.nodes.pop()
        return self.nodes[-1]


HIDE = """until [ "$1" = -- ]; do mount -t tmpfs none "$1" || exit 1; shift; done; shift; exec "$@\""""


def _hiding(folders: Sequence[Path]) -> list[str]:
    """The start of a command line that gives its process an empty disk in place of each folder."""
    return ["unshare", "-m", "sh", "-c", HIDE, "sh", *map(str, folders), "--"] if folders else []


def require_hiding(folder: Path) -> None:
    """Skip the test if folders cannot be hidden from a process."""
    done = subprocess.run([*_hiding([folder]), "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a folder cannot be hidden from a node here, which needs root: {done.stderr.strip()}")


@contextmanager
def raylets(address: str | None = None) -> Iterator[Raylets]:
    """A cluster without nodes; all its processes are killed at the end. address: of its head, HOST:PORT."""
    # In a folder with a short name: Ray's sockets are in it, and their paths must stay below 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rays-"))
    cluster = Raylets(folder, address or f"{_own_address()}:{free_port()}")
    try:
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            node.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


def _own_address() -> str:
    """This machine's address as Ray determines it: Ray uses it instead of a loopback address."""
    import ray

    return str(ray.util.get_node_ip_address())
