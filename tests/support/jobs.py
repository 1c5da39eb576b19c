"""Profiles and jobs for tests of job files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.manifests.spec import KuberayProfile, SkypilotProfile, SlurmProfile, SweepJob

EXPERIMENT = "name: nuclei\ntask: segmentation\n# $HOME `id`\n"


def slurm(**keys: Any) -> SlurmProfile:
    """A profile for Slurm: two nodes with 4 CPUs each, for an hour."""
    given = {"scheduler": "slurm", "nodes": 2, "cpus": 4, "wall_time": "1h"} | keys
    return SlurmProfile.model_validate_json(json.dumps(given))


def kuberay(**keys: Any) -> KuberayProfile:
    """A profile for KubeRay: two pods with 4 CPUs each."""
    given = {
        "scheduler": "kuberay",
        "nodes": 2,
        "cpus": 4,
        "memory": "8GiB",
        "image": "registry.example/adaptertune:1",
        "claim": "experiments",
        "storage": "/experiments",
    }
    return KuberayProfile.model_validate_json(json.dumps(given | keys))


def skypilot(**keys: Any) -> SkypilotProfile:
    """A profile for SkyPilot: two machines with 4 CPUs each."""
    given = {"scheduler": "skypilot", "nodes": 2, "cpus": 4, "storage": "/mnt/experiments"} | keys
    return SkypilotProfile.model_validate_json(json.dumps(given))


def job(**fields: Any) -> SweepJob:
    """The job of a new experiment."""
    given = {
        "name": "nuclei",
        "storage": "/shared/experiments",
        "experiment": EXPERIMENT,
        "folder": "/shared/experiments/jobs/nuclei-1",
        "programs": "/shared/env/bin",
    }
    return SweepJob(**(given | fields))


def check_shell(script: str, folder: Path, *, ignored: Sequence[str] = ()) -> None:
    """Have `bash -n` and shellcheck read a script. Raises AssertionError with what they find.

    ignored: codes of shellcheck.
    """
    file = folder / "job.sh"
    file.write_text(script, encoding="utf-8")
    found = find_shellcheck()
    assert found is not None, "shellcheck is missing; `make setup` installs it"
    check_shell_files([file], found, "--shell=bash", f"--exclude={','.join(ignored)}")


def find_shellcheck() -> str | None:
    """The program shellcheck of this environment, or else of the machine."""
    own = Path(sys.executable).parent / "shellcheck"
    return str(own) if own.exists() else shutil.which("shellcheck")


def check_shell_files(files: Sequence[Path], shellcheck: str, *options: str) -> None:
    """Have `bash -n` and shellcheck read files. Raises AssertionError with what they find."""
    for command in (*(["bash", "-n", str(file)] for file in files), [shellcheck, *options, *map(str, files)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
