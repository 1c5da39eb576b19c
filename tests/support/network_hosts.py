"""Hosts on this machine: a network namespace each, with its own address on a bridge. Needs root and `ip`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_PREFIX = "at"
"""Of all names: at, the process that made it, and the host's number. A device's name has at most 15 bytes."""


@dataclass(frozen=True)
class Host:
    """A host of the network. Its processes are in the namespace, and its end of the cable is `eth0`."""

    namespace: str
    address: str
    cable: str
    """The other end of its cable, on the bridge."""

    @property
    def inside(self) -> tuple[str, ...]:
        """The start of a command line of a process of this host."""
        # `ip netns exec` would mount another /sys, in which Slurm does not find its cgroups.
        return ("nsenter", f"--net=/run/netns/{self.namespace}")

    def unplug(self) -> None:
        """Take its cable out: it reaches only itself, and nobody reaches it."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put its cable back."""
        _ip("link", "set", self.cable, "up")


@dataclass
class Network:
    """A bridge, and the hosts on it. address: this machine's on it, outside of all hosts."""

    bridge: str
    subnet: str
    hosts: list[Host] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.subnet}.254"

    def add(self) -> Host:
        """Add a host."""
        number = len(self.hosts) + 1
        namespace = f"{_PREFIX}{os.getpid()}-{number}"
        host = Host(namespace, f"{self.subnet}.{number}", f"{namespace}v")
        _ip("netns", "add", namespace)
        self.hosts.append(host)
        _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", host.cable, "master", self.bridge, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{host.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.address),  # Ray asks for the route to find its address
        ):
            _ip("-n", namespace, *words)
        return host


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts; it is removed at the end, after the processes that the test has ended.

    Skips the test where it cannot be made.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("hosts of their own need root, and `ip` of iproute2")
    _remove_what_is_left()
    pid = os.getpid()
    made = Network(f"{_PREFIX}{pid}-b", f"10.{200 + pid // 250 % 50}.{pid % 250}")
    try:
        try:
            _ip("link", "add", made.bridge, "type", "bridge")
            _ip("address", "add", f"{made.address}/24", "dev", made.bridge)
            _ip("link", "set", made.bridge, "up")
        except AssertionError as error:
            pytest.skip(f"a bridge cannot be made here: {error}")
        yield made
    finally:
        _remove(pid)


def _remove_what_is_left() -> None:
    """Remove the networks of processes that were killed."""
    named = [*Path("/run/netns").glob(f"{_PREFIX}*-*"), *Path("/sys/class/net").glob(f"{_PREFIX}*-b")]
    for pid in {path.name.removeprefix(_PREFIX).partition("-")[0] for path in named}:
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _remove(int(pid))


def _remove(pid: int) -> None:
    """Remove the network of a process: with a namespace goes its cable."""
    for namespace in Path("/run/netns").glob(f"{_PREFIX}{pid}-*"):
        with suppress(AssertionError):
            _ip("link", "delete", f"{namespace.name}v")
        with suppress(AssertionError):
            _ip("netns", "delete", namespace.name)
    if Path(f"/sys/class/net/{_PREFIX}{pid}-b").exists():
        with suppress(AssertionError):
            _ip("link", "delete", f"{_PREFIX}{pid}-b")


def _ip(*words: str) -> None:
    """Run `ip`. Raises AssertionError with its message."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
