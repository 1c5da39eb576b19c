"""Writes the job file of a sweep, and gives it to the scheduler's own program."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import assert_never

from cluster.manifests.kuberay import TooLargeError, manifest_name, rayjob_manifest
from cluster.manifests.skypilot import TOKEN, skypilot_task
from cluster.manifests.slurm import slurm_script
from cluster.manifests.spec import KuberayProfile, Profile, SkypilotProfile, SlurmProfile, SweepJob
from trainables.errors import StorageError, SubmitError

ANSWERS_WITHIN_S = 120.0
"""Seconds that sbatch and kubectl may take. SkyPilot brings up machines meanwhile, and takes as long."""


@dataclass(frozen=True)
class Submitted:
    """A job that its scheduler has taken.

    file: the job file.  job: what the scheduler calls it.  follow, cancel: commands for the user.
    """

    file: Path
    job: str
    follow: str
    cancel: str


def job_text(profile: Profile, job: SweepJob) -> str:
    """The job file for the profile's scheduler. Raises SubmitError if the experiment does not fit into it."""
    match profile:
        case SlurmProfile():
            return slurm_script(profile, job)
        case KuberayProfile():
            try:
                return rayjob_manifest(profile, job)
            except TooLargeError as error:
                raise SubmitError(f"{error}; give long lists by fewer keys, or split the search") from error
        case SkypilotProfile():
            return skypilot_task(profile, job)
        case _:
            assert_never(profile)


def require_program(profile: Profile) -> None:
    """Raise SubmitError if the scheduler's program is not on this machine."""
    name = _PROGRAMS[profile.scheduler]
    if shutil.which(name) is None:
        raise SubmitError(
            f"{name} is not on this machine, so nothing can be submitted to {profile.scheduler};"
            f" {_WAYS[profile.scheduler]}, or print the job file with --print"
        )


def submit(profile: Profile, job: SweepJob) -> Submitted:
    """Write the job file into `job.folder`, which must not exist, and submit it.

    Raises SubmitError if the program is missing or refuses the job, StorageError if the folder cannot be
    written.
    """
    require_program(profile)
    text = job_text(profile, job)
    folder = Path(job.folder)
    file = folder / _FILES[profile.scheduler]
    try:
        folder.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot write {file}: {error.strerror}; use --storage DIR for another folder"
        ) from error
    match profile:
        case SlurmProfile():
            return _submit_to_slurm(file)
        case KuberayProfile():
            return _submit_to_kubernetes(profile, job, file)
        case SkypilotProfile():
            return _submit_to_skypilot(profile, job, file)
        case _:
            assert_never(profile)


def _submit_to_slurm(file: Path) -> Submitted:
    said = _run(["sbatch", "--parsable", str(file)], file)
    number = re.match(r"\d+", said)
    if number is None:
        raise SubmitError(f"sbatch printed no job number but '{said}'; see `squeue --me`")
    return Submitted(file, f"job {number[0]}", f"squeue --jobs {number[0]}", f"scancel {number[0]}")


def _submit_to_kubernetes(profile: KuberayProfile, job: SweepJob, file: Path) -> Submitted:
    name = manifest_name(job)
    place = f" --namespace {profile.namespace}" if profile.namespace is not None else ""
    # Not `apply`: with a name that exists it would change a job that has ended, which then does nothing.
    _run(["kubectl", "create", "--filename", str(file)], file)
    return Submitted(
        file,
        f"RayJob {name}",
        f"kubectl get rayjob {name}{place} --watch",
        f"kubectl delete --filename {quote(str(file))}",
    )


def _submit_to_skypilot(profile: SkypilotProfile, job: SweepJob, file: Path) -> Submitted:
    name = manifest_name(job)
    managed = profile.spot  # SkyPilot then brings up other machines when these are taken back
    words = ["sky", "jobs", "launch", "--name", name] if managed else ["sky", "launch", "--cluster", name]
    token = {TOKEN: secrets.token_hex(32)}
    _run([*words, "--yes", "--detach-run", "--secret", TOKEN, str(file)], file, within_s=None, **token)
    if managed:
        return Submitted(file, f"managed job {name}", "sky jobs queue", f"sky jobs cancel --name {name}")
    return Submitted(file, f"cluster {name}", f"sky queue {name}", f"sky down {name}")


def _run(
    command: Sequence[str], file: Path, *, within_s: float | None = ANSWERS_WITHIN_S, **environment: str
) -> str:
    """What a command prints. Raises SubmitError if it fails, or does not end in `within_s` seconds.

    environment: variables next to those of this process.
    """
    try:
        done = subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=within_s,
        )
    except subprocess.TimeoutExpired as error:
        raise SubmitError(
            f"{command[0]} did not answer within {within_s:g} s; the scheduler may be down. The job"
            f" file is {file}; check whether it was submitted before you try again"
        ) from error
    except OSError as error:
        raise SubmitError(f"{command[0]} cannot be run: {error.strerror}. The job file is {file}") from error
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip() or "no reason given").split())
        raise SubmitError(
            f"{command[0]} refuses the job (exit code {done.returncode}): {said}\nThe job file is {file}"
        )
    return done.stdout.strip()


_PROGRAMS = {"slurm": "sbatch", "kuberay": "kubectl", "skypilot": "sky"}
_FILES = {"slurm": "job.sh", "kuberay": "rayjob.yaml", "skypilot": "task.yaml"}
_WAYS = {
    "slurm": "submit on a login node of the cluster",
    "kuberay": "install kubectl and point it at the cluster",
    "skypilot": "install SkyPilot (https://docs.skypilot.co) in an environment of its own",
}
