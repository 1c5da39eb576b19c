"""A Slurm of several nodes on this machine, with its own configuration, ports and processes.

Needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge. Two nodes are two `slurmd -N`: on
one host, or each on a host of its own, with its own network, processes and folder for Ray.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chaos import Process
from network_hosts import Host, Network
from ports import free_port

UP_WITHIN_S = 60.0
GPU, GPUS = "a100", 2
POLL_INTERVAL_S = 0.2
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
OF_HOST = "/var/tmp"
"""A folder that is each host's own; Ray's files are there."""
_HOST = """mount -t tmpfs none "$0" || exit 1; "$@" & wait"""
"""The first process of a host, which also reaps the orphans of others."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
MpiDefault=none
ReturnToService=2
SlurmdTimeout={node_timeout_s}
{nodes}
PartitionName=main Nodes=ALL Default=YES OverSubscribe=NO MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """A running Slurm. The variables of `environment` make its commands speak to it."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """The daemons: munged, slurmctld, and a slurmd for each node by its name."""
    hosts: dict[str, Host] = field(default_factory=dict)
    """The host of each node, where it is not this machine."""

    def command(self, *words: str) -> str:
        """What a command of Slurm prints; it must exit with 0."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, number: int) -> dict[str, str]:
        """The fields of a job, as `scontrol show job` names them."""
        words = self.command("scontrol", "show", "job", str(number), "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, number: int, *states: str, within_s: float = 300.0) -> dict[str, str]:
        """Wait until a job is in one of the states; its fields then.

        A job that has to wait two minutes after a requeue may start after three seconds. Not at once: within
        the same second the node's daemon takes it for the attempt that it has just ended.

        Raises AssertionError with the job's fields if it takes longer, or the job ends otherwise.
        """
        deadline, sooner = time.monotonic() + within_s, set[str]()
        while True:
            found = self.job(number)
            state = found["JobState"]
            if state in states:
                return found
            assert state not in FINAL, found
            assert time.monotonic() < deadline, found
            waits = state == "PENDING" and found["Reason"] == "BeginTime"
            if waits and found["Restarts"] not in sooner:
                sooner.add(found["Restarts"])
                with suppress(AssertionError):  # it may have begun in between
                    self.command("scontrol", "update", f"JobId={number}", "StartTime=now+3")
            time.sleep(POLL_INTERVAL_S)

    def stop_node(self, name: str) -> None:
        """Kill a node's daemon and all its jobs' processes, as if the machine had failed."""
        daemon = self.processes[name]
        daemon.kill()
        daemon.wait()
        self._kill_jobs(name)

    def job_processes(self, *nodes: str) -> list[int]:
        """The processes that jobs have started on these nodes, or on all of them."""
        names = nodes or tuple(self.processes)
        known = [f"SLURMD_NODENAME={name}\0".encode() for name in names]
        configuration = f"SLURM_CONF={self.environment['SLURM_CONF']}\0".encode()
        return [pid for pid in _processes(configuration) if any(n in _variables(pid) for n in known)]

    def _kill_jobs(self, *nodes: str) -> None:
        """Kill what the nodes' jobs have started, with the daemons of their steps, until nothing is left."""
        while found := self.job_processes(*nodes):
            above = [process for pid in found if (process := Process.read(pid)) is not None]
            steps = [step for child in above if (step := Process.read(child.parent)) is not None]
            for process in (*(step for step in steps if step.name.startswith("slurmstepd:")), *above):
                process.kill()
            time.sleep(0.05)

    def start_node(self, name: str) -> None:
        """Start a node's daemon, and the first process of its host."""
        inside: tuple[str, ...] = ()
        if (host := self.hosts.get(name)) is not None:
            own = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
            inside = (*host.inside, *own, "sh", "-c", _HOST, OF_HOST)
        self._start(name, "slurmd", "-D", "-N", name, inside=inside)

    def wait_until_up(self, names: Sequence[str]) -> None:
        """Wait until these nodes are idle."""
        deadline = time.monotonic() + UP_WITHIN_S
        while set(self.command("sinfo", "-h", "-N", "-o", "%T", "-n", ",".join(names)).split()) != {"idle"}:
            assert time.monotonic() < deadline, self.command("sinfo", "-N", "-l") + self.logs()
            time.sleep(POLL_INTERVAL_S)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in files)

    def _start(
        self, name: str, program: str, *words: str, user: str | None = None, inside: Sequence[str] = ()
    ) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        found = shutil.which(program, path=path)
        assert found is not None
        with (self.folder / f"{name}.out").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                [*inside, found, *words],
                env=os.environ | self.environment | {"PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
            )

    def begin(self, nodes: Sequence[str]) -> None:
        """Start munged, slurmctld and the nodes; wait until they are idle."""
        munge = self.folder / "munge"
        self._start(
            "munged", "munged", "--foreground", "--socket", f"{munge}/socket", "--key-file", f"{munge}/key",
            "--pid-file", f"{munge}/pid", "--seed-file", f"{munge}/seed", "--log-file", f"{munge}/log",
            user=pwd.getpwuid(munge.stat().st_uid).pw_name,
        )  # fmt: skip
        deadline = time.monotonic() + UP_WITHIN_S
        while not (munge / "socket").exists():
            assert self.processes["munged"].poll() is None, (self.folder / "munged.out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self._start("slurmctld", "slurmctld", "-D")
        for name in nodes:
            self.start_node(name)
        while True:
            with suppress(AssertionError):
                self.command("sinfo", "-h")
                break
            assert self.processes["slurmctld"].poll() is None, (self.folder / "slurmctld.out").read_text()
            assert time.monotonic() < deadline, self.logs()
            time.sleep(POLL_INTERVAL_S)
        self.wait_until_up(nodes)

    def end(self) -> None:
        """Stop all jobs and daemons, and everything below them."""
        for daemon in reversed(self.processes.values()):
            daemon.kill()
            daemon.wait()
        self._kill_jobs(*self.processes)


def _processes(variable: bytes) -> list[int]:
    """The processes that have a variable of the environment."""
    return [
        pid
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and variable in _variables(pid := int(entry.name))
    ]


def _variables(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def require_slurm() -> None:
    """Skip the test where Slurm cannot run; install Debian's packages where that is all that is missing."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if os.geteuid() != 0:
        pytest.skip("a private Slurm needs root")
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing and shutil.which("apt-get") is not None:
        words = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *PACKAGES]
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "--quiet"], words):
            subprocess.run(command, env=quiet, capture_output=True, check=False, timeout=600)
        missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"Slurm is not installed, and apt-get cannot install it: no {', '.join(missing)}")


@contextmanager
def private_slurm(
    nodes: Sequence[str], *, cpus: int = 2, node_timeout_s: int = 300, network: Network | None = None
) -> Iterator[Slurm]:
    """A Slurm with these nodes, of so many CPUs each, and `GPUS` GPUs in name only; it is killed at the end.

    node_timeout_s: seconds after which a node that does not answer counts as failed.  network: gives each
    node a host of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    hosts = {} if network is None else {name: network.add() for name in nodes}
    addresses = {name: hosts[name].address if hosts else "127.0.0.1" for name in nodes}
    lines = [
        f"NodeName={name} NodeHostname={host} NodeAddr={addresses[name]} Port={free_port()}"
        f" CPUs={cpus} RealMemory=4096 Gres=gpu:{GPU}:{GPUS}"
        for name in nodes
    ]
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            host=host,
            address="127.0.0.1" if network is None else network.address,
            port=free_port(),
            folder=folder,
            nodes="\n".join(lines),
            node_timeout_s=node_timeout_s,
        )
    )
    devices = [folder / f"gpu{number}" for number in range(GPUS)]  # it reads no more than their names
    for device in devices:
        device.touch()
    (folder / "gres.conf").write_text(f"Name=gpu Type={GPU} File={','.join(map(str, devices))}\n")
    for name in ("state", "munge", *nodes):
        (folder / name).mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    owner = pwd.getpwnam("munge")
    for path in (key, folder / "munge"):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    own = {"RAY_TMPDIR": OF_HOST} if hosts else {}
    slurm = Slurm(folder, {"SLURM_CONF": str(folder / "slurm.conf"), **own}, hosts=hosts)
    try:
        slurm.begin(nodes)
        yield slurm
    finally:
        slurm.end()
        shutil.rmtree(folder, ignore_errors=True)
