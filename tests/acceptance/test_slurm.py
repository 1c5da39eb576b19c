"""Sweeps that `adaptertune submit` gives to a real Slurm, whose nodes are all on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import adaptertune
from private_slurm import Slurm, private_slurm, require_slurm
from scripted import essence

from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending
from tuning.ledger.records import ReportRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FILE = """\
name: NAME
task: segmentation
model: {name: embedded, image_size: [32, 32]}
data: {embedded: {domain: inverted, train: 96, validation: 16, test: 1, side: 32}}
objective: {metric: dice, value: best}
trial: {epochs: 4, batch_size: 4, schedule: cosine, loss: cross_entropy}
space:
  adapter: {choice: [lora, loha]}
  learning_rate: {float: [3e-4, 2e-2], log: true}
search: {random: {}, trials: TRIALS, seed: 4}
scheduler: none
resources: {packing: off}
checkpoints: {every_s: 0.1, every_epochs: 1}
scoring: {trials: none}
"""
"""Random search without a stopping rule: a trial's result depends on its number alone."""
TRIALS = 6
"""So many that a sweep whose first trial has reported still has work for the node that it loses."""
PROFILE = """\
scheduler: slurm
nodes: NODES
cpus: 1
memory: 1GiB
wall_time: 1h
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Two nodes with two CPUs each, so that two jobs of one CPU a node share them."""
    require_slurm()
    with private_slurm(("n1", "n2"), cpus=2, node_timeout_s=20) as started:
        yield started


class Cluster:
    """Submits sweeps from a folder with spaces in its name.

    client: whether there is grpc, without which Ray has no client: a plain installation has none.
    """

    def __init__(self, slurm: Slurm, folder: Path, *, client: bool = True) -> None:
        self.slurm, self.folder = slurm, folder / "a folder"
        self.storage, self.hidden = self.folder / "experiments", folder / "hidden"
        self.folder.mkdir()
        self.hidden.mkdir()
        if not client:
            (self.hidden / "grpc.py").write_text("raise ModuleNotFoundError('no grpc', name='grpc')\n")

    def submit(self, name: str, *, nodes: int, trials: int = TRIALS, **keys: str) -> int:
        """Submit a sweep of `trials` trials; returns the job's number. keys: more of the profile."""
        (self.folder / f"{name}.yaml").write_text(FILE.replace("NAME", name).replace("TRIALS", str(trials)))
        more = "".join(f"{key}: {value}\n" for key, value in keys.items())
        profile = PROFILE.replace("NODES", str(nodes))
        replaced = [line for line in profile.splitlines() if line.partition(":")[0] not in keys]
        (self.folder / "profile.yaml").write_text("\n".join(replaced) + "\n" + more)
        said = adaptertune(
            self.folder, "submit", f"{name}.yaml", "--on", "./profile.yaml", "--storage", str(self.storage),
            timeout=120, **self.environment,
        )  # fmt: skip
        (line,) = (line for line in said.splitlines() if "is submitted as job" in line)
        return int(line.rpartition(" ")[2])

    @property
    def environment(self) -> dict[str, str]:
        """The variables of who submits, which Slurm hands on to the job."""
        ours = {"ADAPTERTUNE_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(self.hidden)}
        return self.slurm.environment | ours

    def record(self, name: str) -> Path:
        """The folder of a sweep."""
        return self.storage / name

    def wait_for_report(self, name: str, job: int) -> None:
        """Wait until a trial has reported, in a job that runs."""
        self._wait(name, job, lambda: any(isinstance(r, ReportRecord) for r in _records(self.record(name))))

    def _wait(self, name: str, job: int, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 400.0
        while not ((self.record(name) / LEDGER).exists() and met()):
            found = self.slurm.job(job)
            assert found["JobState"] in ("PENDING", "CONFIGURING", "RUNNING"), self.explain(name, found)
            assert time.monotonic() < deadline, self.explain(name, found)
            time.sleep(0.05)

    def finish(self, name: str, job: int) -> dict[str, str]:
        """Wait until a job has completed; its fields. Raises AssertionError with its output otherwise."""
        try:
            return self.slurm.wait_for(job, "COMPLETED", within_s=600.0)
        except AssertionError as error:
            raise AssertionError(self.explain(name, error)) from error

    def output(self, name: str) -> str:
        """What a sweep's jobs have printed."""
        files = sorted((self.storage / "jobs").glob(f"{name}-*/slurm-*.txt"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    def explain(self, name: str, why: Any) -> str:
        return f"{why}\n{self.output(name)}\n{self.slurm.logs()}"


def _records(folder: Path) -> list[Any]:
    from tuning.ledger.ledger import read_records

    return list(read_records(folder))


@pytest.fixture
def cluster(slurm: Slurm, tmp_path: Path) -> Cluster:
    return Cluster(slurm, tmp_path, client=False)


@pytest.mark.exhaustive  # as with the two hosts of test_slurm_hosts.py
def test_a_preempted_sweep_ends_with_the_result_of_one_that_was_left_alone(cluster: Cluster) -> None:
    """Also two sweeps on a shared node: one of them has a CPU of each node, the other one of one node."""
    preempted, alone = cluster.submit("preempted", nodes=2), cluster.submit("alone", nodes=1)
    assert cluster.slurm.wait_for(alone, "RUNNING")["NodeList"] in ("n1", "n2")
    both = cluster.slurm.job(preempted)
    assert (both["JobState"], both["NodeList"]) == ("RUNNING", "n[1-2]")
    cluster.wait_for_report("preempted", preempted)
    before = len(_records(cluster.record("preempted")))
    cluster.slurm.command("scontrol", "requeue", str(preempted))
    again = cluster.finish("preempted", preempted)
    assert (again["ExitCode"], again["Restarts"]) == ("0:0", "1")
    assert cluster.finish("alone", alone)["ExitCode"] == "0:0"

    records = _records(cluster.record("preempted"))
    endings = [record.reason for record in records if record.kind == "closed"]
    assert endings == [Ending.INTERRUPTED, Ending.FINISHED]
    assert len(records) > before
    assert essence(cluster.record("preempted")) == essence(cluster.record("alone"))
    said = cluster.output("preempted")
    assert "2 of 2 nodes are there" in said
    assert "adaptertune resume preempted --take-over on 2 node(s)" in said
    assert "Traceback" not in said


def test_a_sweep_continues_on_another_node_when_its_node_fails(cluster: Cluster) -> None:
    job = cluster.submit("failing", nodes=1)
    cluster.wait_for_report("failing", job)
    node = cluster.slurm.job(job)["BatchHost"]
    cluster.slurm.stop_node(node)  # its daemon, the job and Ray, all at once
    assert read_history(cluster.record("failing")).closed is None
    cluster.slurm.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=failed")
    done = cluster.finish("failing", job)
    assert (done["ExitCode"], done["Restarts"]) == ("0:0", "1")
    assert done["BatchHost"] != node
    trials = read_history(cluster.record("failing")).trials
    assert [trial.value is not None for trial in trials.values()] == [True] * TRIALS
    cluster.slurm.start_node(node)
    cluster.slurm.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
    cluster.slurm.wait_until_up([node])


@pytest.mark.exhaustive
def test_the_time_limit_sends_the_signal_early_enough(cluster: Cluster) -> None:
    job = cluster.submit("short", nodes=1, trials=60, wall_time="4min", stop_before="2min")
    cluster.wait_for_report("short", job)
    cluster.slurm.wait_for(job, "PENDING", within_s=400.0)
    closed = read_history(cluster.record("short")).closed
    assert closed is not None
    assert closed.reason is Ending.INTERRUPTED
    assert cluster.slurm.job(job)["Restarts"] == "1"
    assert "back into the queue" in cluster.output("short")
    cluster.slurm.command("scancel", str(job))


def stand_ins(folder: Path, *, ray: str, driver: str) -> str:
    """An environment with our Python, and scripts in place of `ray` and `adaptertune`; its path, quoted."""
    programs = folder / "env" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(Path(sys.executable).parent / "python")
    for name, text in (("ray", ray), ("adaptertune", driver)):
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    return f"'{programs.parent}'"


def test_a_job_goes_back_into_the_queue_at_its_signal_and_ends_with_its_driver(cluster: Cluster) -> None:
    """The signal is the one that Slurm sends `stop_before` the limit; Ray and the driver are stand-ins."""
    environment = stand_ins(
        cluster.folder,
        ray='while [ "$1" != --temp-dir ]; do shift; done; echo a:1 > "$2/ray_current_cluster"; sleep 600',
        driver='echo "attempt $SLURM_RESTART_COUNT"; [ "$SLURM_RESTART_COUNT" != 2 ] || exit 0\n'
        "trap 'exit 75' TERM; while true; do sleep 0.1; done",
    )
    job = cluster.submit("signalled", nodes=1, environment=environment)
    for attempt in ("attempt \n", "attempt 1\n"):
        cluster.slurm.wait_for(job, "RUNNING")
        deadline = time.monotonic() + 100.0
        while attempt not in cluster.output("signalled"):
            assert time.monotonic() < deadline, cluster.explain("signalled", attempt)
            time.sleep(0.1)
        cluster.slurm.command("scancel", "--batch", "--signal=USR1", str(job))
        cluster.slurm.wait_for(job, "PENDING")
    done = cluster.finish("signalled", job)
    assert (done["ExitCode"], done["Restarts"]) == ("0:0", "2")
    assert cluster.output("signalled").count("back into the queue") == 2


def test_a_ray_that_does_not_start_fails_the_job_with_its_reason(cluster: Cluster) -> None:
    environment = stand_ins(cluster.folder, ray="echo no luck today; exit 3", driver="exit 0")
    job = cluster.submit("unlucky", nodes=1, environment=environment)
    found = cluster.slurm.wait_for(job, "FAILED")
    assert found["ExitCode"] == "1:0"
    assert "Ray did not start on n" in cluster.output("unlucky")
    assert "no luck today" in cluster.output("unlucky")
    assert not cluster.record("unlucky").exists()


def test_gpus_are_asked_for_on_each_node_and_ray_is_told(cluster: Cluster) -> None:
    """The nodes' GPUs exist for Slurm alone. A type that no node has is Slurm's to refuse."""
    told = cluster.folder / "ray.txt"
    environment = stand_ins(
        cluster.folder,
        ray=f'echo "$*" >> "{told}"; while [ "$1" != --temp-dir ]; do shift; done\n'
        'echo a:1 > "$2/ray_current_cluster"; sleep 600',
        driver='echo "of Slurm: $SLURM_GPUS_ON_NODE GPUs"',
    )
    job = cluster.submit("graphics", nodes=1, environment=environment, gpus="2", gpu_type="a100")
    cluster.finish("graphics", job)
    assert cluster.slurm.job(job)["TresPerNode"] == "gres:gpu:a100:2"
    assert "of Slurm: 2 GPUs" in cluster.output("graphics")
    assert "--num-gpus 2" in told.read_text()
    with pytest.raises(AssertionError, match="sbatch refuses the job"):
        cluster.submit("absent", nodes=1, gpus="1", gpu_type="h200")


def test_what_slurm_refuses_is_said(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match=r"sbatch refuses the job .*invalid partition"):
        cluster.submit("refused", nodes=1, partition="absent")


def test_jobs_leave_no_process_behind(slurm: Slurm) -> None:
    """Of all jobs above: Ray's processes have left the shell's process group, and some ignore SIGTERM."""
    assert not slurm.command("squeue", "--noheader").split()
    assert not slurm.job_processes()
