"""The job file of a sweep for Slurm's sbatch: one driver, and one Ray node on each node of the job.

Not `ray symmetric-run` (Ray 2.60): it loses the driver's last record on a requeue, ends a finished sweep with
137, and its `ray stop` ends every Ray of the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from shlex import quote

from cluster.manifests.heredoc import heredoc
from cluster.manifests.spec import SlurmProfile, SweepJob
from cluster.manifests.units import Duration

KILLED_AFTER_S = 20
"""Seconds after Slurm's SIGTERM until the driver is killed. Slurm kills the job after its KillWait, 30 s
unless the site has changed it, and stopping Ray takes its time, too."""
_MARGIN_S = 30
"""Seconds between the end of the driver and the time limit, to stop Ray and go back into the queue."""
_LEAST_OBJECT_STORE, _MOST_OBJECT_STORE = 100 << 20, 8 << 30
"""Bounds of Ray's object store, in bytes. A sweep hardly uses it; Ray would take 30 % of the machine."""
_PLAIN_IN_OPTIONS = "-_./,:@%+="


def slurm_script(profile: SlurmProfile, job: SweepJob) -> str:
    """The job file, which `sbatch FILE` submits. Values are quoted for the shell."""
    body = (files("cluster.manifests") / "slurm_job.bash").read_text(encoding="utf-8")
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in _options(profile, job)),
        "# A sweep of adaptertune, written by `adaptertune submit`. sbatch needs the folder of --output.",
        "",
        *_settings(profile, job),
        "",
        "setup() {",
        *(f"  {line}" for line in profile.setup or [":"]),
        "}",
        "",
        "write_experiment() {",
        *([f"  cat {heredoc(job.experiment)}"] if job.experiment is not None else ["  :"]),
        "}",
        "",
    ]
    return "\n".join(lines) + "\n" + body


def _options(profile: SlurmProfile, job: SweepJob) -> Iterator[str]:
    yield f"--job-name={_in_option(job.name)}"
    yield f"--output={_in_option(job.folder.replace('%', '%%') + '/slurm-%j.txt')}"
    yield f"--nodes={profile.nodes}"
    yield "--ntasks-per-node=1"
    yield f"--cpus-per-task={profile.cpus}"
    if profile.gpus:
        kind = f"{profile.gpu_type}:" if profile.gpu_type is not None else ""
        yield f"--gpus-per-node={kind}{profile.gpus}"
    if profile.memory is not None:
        yield f"--mem={profile.memory.mebibytes}M"
    yield f"--time={_slurm_time(profile.wall_time)}"
    yield "--requeue"
    yield "--open-mode=append"
    yield f"--signal=B:USR1@{profile.stop_before.seconds}"
    for name in ("partition", "account", "qos", "constraint"):
        if (value := getattr(profile, name)) is not None:
            yield f"--{name}={_in_option(value)}"
    for option in profile.options:
        name, equals, value = option.partition("=")
        yield f"{name}={_in_option(value)}" if equals else name


def _settings(profile: SlurmProfile, job: SweepJob) -> Iterator[str]:
    yield f"name={quote(job.name)}"
    yield f"new={int(job.experiment is not None)} # 0 continues an experiment"
    yield f"storage={quote(job.storage)}"
    yield f"programs={quote(job.programs)}"
    yield f"nodes={profile.nodes} cpus={profile.cpus} gpus={profile.gpus}"
    yield f"wait_s={profile.wait_for_nodes.seconds}"
    yield f"stop_within_s={max(_MARGIN_S, profile.stop_before.seconds - _MARGIN_S)}"
    yield f"killed_after_s={KILLED_AFTER_S}"
    store = ""
    if profile.memory is not None:
        tenth = profile.memory.mebibytes * (1 << 20) // 10
        size = min(max(tenth, _LEAST_OBJECT_STORE), _MOST_OBJECT_STORE)
        store = f"--object-store-memory {size}"
    yield f"object_store=({store})"
    if profile.cache is not None:
        yield f"export ADAPTERTUNE_CACHE={quote(profile.cache)}"


def _in_option(text: str) -> str:
    """A value in an `#SBATCH` line, which sbatch itself takes apart: it knows quotes and backslashes."""
    if all(c.isalnum() or c in _PLAIN_IN_OPTIONS for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _slurm_time(time: Duration) -> str:
    """DAYS-HH:MM:SS."""
    days, rest = divmod(time.seconds, 86_400)
    return f"{days}-{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
