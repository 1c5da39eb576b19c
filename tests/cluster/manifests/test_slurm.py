"""The text of a Slurm job. What it does is tested with a real Slurm in `tests/acceptance/test_slurm.py`."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jobs import EXPERIMENT, check_shell, job, slurm

from cluster.manifests.slurm import slurm_script
from cluster.manifests.spec import SweepJob

ODD = """a b'c"d$HOME`id`\\e;f&g%j"""
"""Text with everything that a shell or sbatch takes apart."""


def options(script: str) -> dict[str, str]:
    """The `#SBATCH` options, with values as sbatch reads them."""
    lines = re.findall(r"^#SBATCH (.*)$", script, re.M)
    words = [shlex.split(line) for line in lines]
    assert all(len(word) == 1 for word in words), words
    return {w[0].partition("=")[0]: w[0].partition("=")[2] for w in words}


def settings(script: str, *names: str) -> list[str]:
    """The values of variables after the lines before the fixed part, as bash has them."""
    above = script.partition("# The same for every sweep")[0]
    shown = "; ".join(f'printf "%s\\0" "${{{name}}}"' for name in names)
    done = subprocess.run(["bash", "-c", f"{above}\n{shown}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


CASES: list[tuple[dict[str, Any], SweepJob]] = [
    ({}, job()),
    ({"nodes": 1}, job(experiment=None)),
    ({"gpus": 2, "gpu_type": "a100", "memory": "64GiB", "cache": "/shared/c a'che"}, job()),
    ({"setup": ["module load cuda/12.4", "export A='x y'"], "options": [f"--comment={ODD}"]}, job()),
    ({}, job(storage=f"/s/{ODD}", folder=f"/s/{ODD}/jobs/nuclei-1", programs=f"/v/{ODD}/bin")),
]


@pytest.mark.parametrize(("keys", "of"), CASES)
def test_bash_and_shellcheck_accept_the_script(keys: dict[str, Any], of: SweepJob, tmp_path: Path) -> None:
    odd = ("SC2016", "SC2089", "SC2090")  # text that looks as if it had been meant for the shell
    check_shell(slurm_script(slurm(**keys), of), tmp_path, ignored=odd if ODD in of.storage else ())


def test_the_shell_check_can_fail(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="SC2086"):
        check_shell("#!/bin/bash\nrm $1\n", tmp_path)
    with pytest.raises(AssertionError, match="syntax error"):
        check_shell("#!/bin/bash\nif true\n", tmp_path)


def test_options_are_those_of_the_profile() -> None:
    profile = slurm(
        partition="gpu", account="vision", qos="long", constraint="a100|h100", gpus=2, gpu_type="a100",
        memory="64GiB", wall_time="1d 12h", stop_before="10min", options=["--exclusive", "--reservation=r1"],
    )  # fmt: skip
    assert options(slurm_script(profile, job())) == {
        "--job-name": "nuclei",
        "--output": "/shared/experiments/jobs/nuclei-1/slurm-%j.txt",
        "--nodes": "2",
        "--ntasks-per-node": "1",
        "--cpus-per-task": "4",
        "--gpus-per-node": "a100:2",
        "--mem": "65536M",
        "--time": "1-12:00:00",
        "--requeue": "",
        "--open-mode": "append",
        "--signal": "B:USR1@600",
        "--partition": "gpu",
        "--account": "vision",
        "--qos": "long",
        "--constraint": "a100|h100",
        "--exclusive": "",
        "--reservation": "r1",
    }


def test_what_a_profile_leaves_out_is_left_to_slurm() -> None:
    found = options(slurm_script(slurm(), job()))
    assert (
        not {"--mem", "--gpus-per-node", "--partition", "--account", "--qos", "--constraint"} & found.keys()
    )


def test_values_reach_the_shell_as_they_are() -> None:
    of = job(storage=f"/s/{ODD}", programs=f"/v/{ODD}/bin", folder=f"/s/{ODD}/jobs/nuclei-1")
    script = slurm_script(slurm(cache=f"/c/{ODD}", gpus=1), of)
    names = ("name", "new", "storage", "programs", "nodes", "cpus", "gpus", "ADAPTERTUNE_CACHE")
    assert settings(script, *names) == [
        "nuclei", "1", f"/s/{ODD}", f"/v/{ODD}/bin", "2", "4", "1", f"/c/{ODD}",
    ]  # fmt: skip
    # sbatch replaces % itself: %% is one, and %j the job's number.
    assert options(script)["--output"] == f"/s/{ODD}/jobs/nuclei-1".replace("%", "%%") + "/slurm-%j.txt"


def test_the_script_holds_the_experiment() -> None:
    above = slurm_script(slurm(), job()).partition("# The same for every sweep")[0]
    done = subprocess.run(["bash", "-c", f"{above}\nwrite_experiment"], capture_output=True, check=True)
    assert done.stdout.decode() == EXPERIMENT
    assert settings(slurm_script(slurm(), job(experiment=None)), "new") == ["0"]


def test_setup_runs_once_in_the_script_and_ends_it_if_a_line_fails() -> None:
    script = slurm_script(slurm(setup=["export FOUND=1", "false", "export FOUND=2"]), job())
    above, _, rest = script.partition("# The same for every sweep")
    assert "set -e\nsetup\nset +e\n" in rest
    done = subprocess.run(
        ["bash", "-c", f"{above}\nset -e\ntrap 'echo $FOUND' EXIT\nsetup\nset +e"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "1\n")


@pytest.mark.parametrize(
    ("memory", "store"), [("64GiB", 6_871_947_673), ("512MiB", 100 << 20), ("2TiB", 8 << 30)]
)
def test_the_object_store_is_a_tenth_of_the_memory_within_bounds(memory: str, store: int) -> None:
    script = slurm_script(slurm(memory=memory), job())
    assert settings(script, "object_store[0]", "object_store[1]") == ["--object-store-memory", str(store)]
    assert settings(slurm_script(slurm(), job()), "#object_store[@]") == ["0"]


def test_the_driver_has_until_shortly_before_the_time_limit() -> None:
    assert settings(slurm_script(slurm(), job()), "stop_within_s", "killed_after_s") == ["270", "20"]
    assert settings(slurm_script(slurm(stop_before="1min"), job()), "stop_within_s") == ["30"]


def test_every_srun_gets_the_cpus_and_there_is_no_array_and_no_ray_stop() -> None:
    code = [line for line in slurm_script(slurm(), job()).splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(code).replace("\\\n", " ")
    calls = re.findall(r"^ *srun .*$", text, re.M)
    assert len(calls) == 1
    assert '--cpus-per-task="$cpus"' in calls[0]
    assert not re.search(r"ray\"? stop|symmetric-run|--array|SLURM_ARRAY", text)
