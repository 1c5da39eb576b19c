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
from chaos import Process, descendants
from ports import free_port

UP_WITHIN_S = 400.0
DOWN_WITHIN_S = 200.0


@dataclass(frozen=True)
class Raylet:
    """A node: its `ray start --block` process, and the output of that."""

    process: subprocess.Popen[bytes]
    output: Path

    def wait_until_up(self) -> None:
        """Wait until the node is up. Raises AssertionError if it ends first, or takes too long."""
        deadline = time.monotonic() + UP_WITHIN_S
        while b"Ray runtime started" not in self.output.read_bytes():
            assert self.process.poll() is None, self.output.read_text(errors="replace")
            assert time.monotonic() < deadline, self.output.read_text(errors="replace")
            time.sleep(0.05)

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
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0"}

    def add(self, *, cpus: int = 1, hidden: Sequence[Path] = (), **environment: str) -> Raylet:
        """Add a node, and wait until it is up; the first one is the head. environment: the node's variables.

        hidden: folders that it does not see, as if it were another machine; see `require_hiding`.
        Add nodes one after the other: nodes that start at once on one machine choose the same socket names.
        """
        _, _, port = self.address.rpartition(":")
        place = (
            ("--head", "--port", port, "--include-dashboard", "false", "--temp-dir", str(self.folder))
            if not self.nodes
            else ("--address", self.address)
        )
        output = self.folder / f"node-{len(self.nodes)}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*_hiding(hidden), sys.executable, "-P", "-m", "ray.scripts.scripts", "start", *place,
                 "--num-cpus", str(cpus), "--num-gpus", "0", "--disable-usage-stats", "--block"],
                cwd=self.folder,
                env=os.environ | self.environment | {"OMP_NUM_THREADS": "1"} | environment,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        node = Raylet(process, output)
        self.nodes.append(node)
        node.wait_until_up()
        return node


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
def raylets() -> Iterator[Raylets]:
    """A cluster without nodes; all its processes are killed at the end."""
    # In a folder with a short name: Ray's sockets are in it, and their paths must stay below 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rays-"))
    cluster = Raylets(folder, f"{_own_address()}:{free_port()}")
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
