"""What a Slurm job does at its ends and its signals, with stand-ins for Slurm, Ray and the driver.

With a real Slurm: `tests/acceptance/test_slurm.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jobs import EXPERIMENT, job, slurm
from marks import slow

from cluster.manifests.slurm import slurm_script

WITHIN_S = 120.0
RAY = """\
#!{python}
import os, sys, time
if os.path.exists("{folder}/no-grpc") and "--ray-client-server-port" in sys.argv:
    print("ValueError: Ray Client requires pip package ray[client]")
    sys.exit(1)
open("{folder}/ray-" + ("head" if "--head" in sys.argv else "worker"), "w").write(str(os.getpid()))
open("{folder}/options", "a").write(" ".join(sys.argv[1:]) + "\\n")
late = "{folder}/late-" + ("head" if "--head" in sys.argv else "worker")
if os.path.exists(late):
    os.unlink(late)
    print("Exception: The current node timed out during startup. This could happen because")
    sys.exit(1)
if os.path.exists("{folder}/no-ray"):
    print("no luck today")
    sys.exit(3)
if "--head" in sys.argv and not os.path.exists("{folder}/slow-ray"):
    with open(sys.argv[sys.argv.index("--temp-dir") + 1] + "/ray_current_cluster", "w") as file:
        file.write("10.0.0.1:6379")
time.sleep(600)
"""
DRIVER = """\
#!{python}
import os, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
open("{folder}/driver", "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "launch":
    open("{folder}/experiment", "w").write(open(sys.argv[2]).read())
while not os.path.exists("{folder}/end"):
    if asked and not os.path.exists("{folder}/deaf"):
        sys.exit(75)
    time.sleep(0.02)
sys.exit(int(open("{folder}/end").read()))
"""
PYTHON = """\
#!/bin/bash
if [ "$2" = "import grpc" ]; then [ ! -e "{folder}/no-grpc" ]; exit; fi
if [ "$2" != -m ]; then exec {python} "$@"; fi
echo "waits for $5 nodes" >&2
until [ -e "{folder}/ray-worker" ] && [ ! -e "{folder}/no-nodes" ]; do sleep 0.05; done
"""
SRUN = """\
#!/bin/bash
echo "$@" > "{folder}/srun"
while [ "$1" != bash ]; do shift; done
[ ! -e "{folder}/no-step" ] || exit 1
"$@" &
trap 'kill -USR1 $!' USR1
while wait $!; kill -0 $! 2>/dev/null; do :; done
"""


@dataclass
class Job:
    """A job that runs, and what it has called."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)

    def begin(self, *, nodes: int = 1, restarts: int = 0, new: bool = True) -> None:
        """Start the script, as Slurm's batch shell would."""
        of = job(
            programs=str(self.folder / "programs"),
            storage=str(self.folder),
            experiment=EXPERIMENT if new else None,
        )
        script = slurm_script(slurm(nodes=nodes, wait_for_nodes="10min"), of)
        (self.folder / "job.sh").write_text(script.replace("killed_after_s=20", "killed_after_s=1"))
        slurm_variables = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": str(restarts)}
        self.process = subprocess.Popen(
            ["bash", str(self.folder / "job.sh")],
            env=os.environ
            | slurm_variables
            | {"PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}", "RAY_TMPDIR": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, name: str) -> None:
        """Wait until a file is there."""
        deadline = time.monotonic() + WITHIN_S
        while not (self.folder / name).exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def touch(self, *names: str) -> None:
        """Make files that change what the stand-ins do."""
        for name in names:
            (self.folder / name).write_text("")

    def end(self) -> tuple[int, str]:
        """Wait until the script has ended; its exit code and output. All of Ray must be gone then."""
        output = self.process.communicate(timeout=WITHIN_S)[0]
        deadline = time.monotonic() + WITHIN_S  # a process that was killed is gone a moment later
        for name in ("ray-head", "ray-worker"):
            # Empty if it was killed while it wrote.
            while (self.folder / name).exists() and _runs(int((self.folder / name).read_text() or 0)):
                assert time.monotonic() < deadline, name
                time.sleep(0.02)
        assert not list(self.folder.glob("at-*"))
        return self.process.returncode, output

    def called(self, name: str) -> str:
        """What a stand-in was called with; nothing if it was not."""
        file = self.folder / name
        return file.read_text().strip() if file.exists() else ""


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Job]:
    programs = tmp_path / "programs"
    programs.mkdir()
    known = {"python": sys.executable, "folder": str(tmp_path)}
    for name, text in (("ray", RAY), ("adaptertune", DRIVER), ("python", PYTHON), ("srun", SRUN)):
        (programs / name).write_text(text.format(**known))
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/scontrol"\n')
    for file in programs.iterdir():
        file.chmod(0o755)
    begun = Job(tmp_path)
    yield begun
    if begun.process.poll() is None:
        begun.process.kill()
    for name in ("ray-head", "ray-worker"):
        if (tmp_path / name).exists() and _runs(process := int((tmp_path / name).read_text())):
            os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("code", [0, 2, slow(1), slow(130)])
def test_the_job_ends_as_its_driver(run: Job, nodes: int, code: int) -> None:
    (run.folder / "end").write_text(str(code))
    run.begin(nodes=nodes)
    found, output = run.end()
    assert found == code
    assert not run.called("scontrol")
    (call,) = run.called("driver").splitlines()
    assert call.startswith(f"launch {run.folder}/at-")
    assert call.endswith(f"/nuclei.yaml --storage {run.folder} --address 10.0.0.1:6379")
    assert run.called("experiment") == EXPERIMENT.strip()
    assert ("waits for 3 nodes" in output) == (nodes == 3)
    assert ("--cpus-per-task=4 --exclude=n1" in run.called("srun")) == (nodes == 3)


@pytest.mark.parametrize("client", [True, False])
def test_the_port_of_ray_client_is_the_jobs_own_where_ray_has_a_client(run: Job, client: bool) -> None:
    """Ray has one where grpc is installed, and refuses its port elsewhere."""
    (run.folder / "end").write_text("0")
    if not client:
        run.touch("no-grpc")
    run.begin()
    code, output = run.end()
    assert code == 0, output
    (options,) = run.called("options").splitlines()
    assert ("--ray-client-server-port" in options) == client


@pytest.mark.parametrize("nodes", [1, slow(2)])
def test_a_preempted_driver_puts_the_job_back_into_the_queue(run: Job, nodes: int) -> None:
    (run.folder / "end").write_text("75")
    run.begin(nodes=nodes)
    assert run.end()[0] == 75
    assert run.called("scontrol") == "requeue 7"


@pytest.mark.parametrize("nodes", [slow(1), 2])
def test_the_signal_before_the_time_limit_ends_the_driver_and_requeues(run: Job, nodes: int) -> None:
    run.begin(nodes=nodes)
    run.wait_for("driver")
    run.process.send_signal(signal.SIGUSR1)
    assert run.end()[0] == 75
    assert run.called("scontrol") == "requeue 7"


def test_a_sweep_that_ends_at_its_time_limit_is_not_requeued(run: Job) -> None:
    run.touch("deaf")
    run.begin()
    run.wait_for("driver")
    run.process.send_signal(signal.SIGUSR1)
    (run.folder / "end").write_text("0")
    assert run.end()[0] == 0
    assert not run.called("scontrol")


def test_at_slurms_own_signal_slurm_says_what_becomes_of_the_job(run: Job) -> None:
    run.begin()
    run.wait_for("driver")
    run.process.send_signal(signal.SIGTERM)
    code, output = run.end()
    assert code == 75
    assert "Slurm ends this attempt" in output
    assert not run.called("scontrol")


def test_a_driver_that_does_not_end_is_killed(run: Job) -> None:
    run.touch("deaf")
    run.begin()
    run.wait_for("driver")
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 137
    assert not run.called("scontrol")


@pytest.mark.parametrize(("number", "calls"), [(signal.SIGUSR1, "requeue 7"), (signal.SIGTERM, "")])
@pytest.mark.parametrize(("slow", "nodes", "begun"), [("slow-ray", 1, "ray-head"), ("no-nodes", 2, "srun")])
def test_a_signal_before_the_driver_has_begun_is_not_lost(
    run: Job, number: signal.Signals, calls: str, slow: str, nodes: int, begun: str
) -> None:
    run.touch(slow)
    run.begin(nodes=nodes)
    run.wait_for(begun)
    run.process.send_signal(number)
    assert run.end()[0] == 75
    assert run.called("scontrol") == calls
    assert not run.called("driver")


@pytest.mark.parametrize(
    ("broken", "nodes", "said"),
    [
        ("no-ray", 1, "Ray did not start on n1:\nno luck today"),
        ("no-step", 2, "Ray did not start on the other nodes:"),
    ],
)
def test_a_ray_that_does_not_start_fails_the_job(run: Job, broken: str, nodes: int, said: str) -> None:
    run.touch(broken, "no-nodes")
    run.begin(nodes=nodes)
    code, output = run.end()
    assert code == 1
    assert said in output
    assert not run.called("driver")
    assert not run.called("scontrol")


@pytest.mark.parametrize("late", ["late-head", "late-worker"])
def test_a_ray_that_misses_its_30_seconds_is_started_again(run: Job, late: str) -> None:
    run.touch(late)
    (run.folder / "end").write_text("0")
    run.begin(nodes=2)
    code, output = run.end()
    assert code == 0
    assert not (run.folder / late).exists()
    assert ("started again" in output) == (late == "late-head")
    assert run.called("driver").startswith("launch")


@pytest.mark.parametrize(
    ("restarts", "new", "recorded", "command"),
    [
        (0, True, False, "launch"),
        (0, True, True, "launch"),  # the name is taken, which `launch` refuses
        (1, True, False, "launch"),
        (1, True, True, "resume nuclei --take-over --storage"),
        (0, False, True, "resume nuclei --storage"),  # which another driver refuses
        (2, False, True, "resume nuclei --take-over --storage"),
    ],
)
def test_a_job_that_starts_again_resumes(
    run: Job, restarts: int, new: bool, recorded: bool, command: str
) -> None:
    if recorded:
        (run.folder / "nuclei").mkdir()
        (run.folder / "nuclei" / "ledger.jsonl").write_text("")
    (run.folder / "end").write_text("0")
    run.begin(restarts=restarts, new=new)
    assert run.end()[0] == 0
    assert run.called("driver").startswith(command)
