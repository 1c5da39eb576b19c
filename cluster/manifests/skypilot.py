"""The task file of a sweep for SkyPilot, which brings up machines in a cloud and runs it there."""

from __future__ import annotations

from importlib.resources import files
from shlex import quote
from typing import Any

from cluster.manifests.heredoc import heredoc
from cluster.manifests.kuberay import manifest_name
from cluster.manifests.spec import SkypilotProfile, SweepJob
from cluster.manifests.yaml_text import yaml_text

TOKEN = "RAY_AUTH_TOKEN"
"""The secret that the task needs: all machines must have the same token of Ray. The task file does not
declare it: SkyPilot 0.14 takes a secret without a value for one of its own store."""
_PORT = 6391
"""The port of Ray's head. SkyPilot's own Ray has 6380; nothing else runs on the machines."""


def skypilot_task(profile: SkypilotProfile, job: SweepJob) -> str:
    """The task file, which `sky launch --secret RAY_AUTH_TOKEN FILE` submits."""
    resources: dict[str, Any] = {}
    if profile.infra is not None:
        resources["infra"] = profile.infra
    resources["cpus"] = f"{profile.cpus}+"
    if profile.memory is not None:
        resources["memory"] = f"{-(-profile.memory.mebibytes // 1024)}+"  # in GiB, rounded up
    if profile.gpus:
        resources["accelerators"] = f"{profile.gpu_type}:{profile.gpus}"
    if profile.image is not None:
        resources["image_id"] = f"docker:{profile.image}"
    if profile.spot:
        resources["use_spot"] = True
    task: dict[str, Any] = {
        "name": manifest_name(job),
        "num_nodes": profile.nodes,
        "resources": resources,
    }
    if profile.volume is not None:
        task["volumes"] = {profile.storage: profile.volume}
    if profile.setup:
        task["setup"] = "\n".join(["set -e", *profile.setup]) + "\n"
    task["run"] = run_script(profile, job)
    return yaml_text(task)


def run_script(profile: SkypilotProfile, job: SweepJob) -> str:
    """The script that each machine runs. Values are quoted for the shell."""
    folder = files("cluster.manifests")
    driver = (folder / "launch_or_resume.bash").read_text(encoding="utf-8")
    written = f"cat {heredoc(job.experiment)}" if job.experiment is not None else ":"
    lines = [
        "#!/bin/bash",
        f"name={quote(job.name)}",
        f"new={int(job.experiment is not None)} # 0 continues an experiment",
        f"storage={quote(profile.storage)}",
        f"attempts_of={quote(manifest_name(job))}",
        f"cpus={profile.cpus} gpus={profile.gpus} port={_PORT}",
        f"wait_s={profile.wait_for_nodes.seconds}",
        *([f"export ADAPTERTUNE_CACHE={quote(profile.cache)}"] if profile.cache is not None else []),
        f"write_experiment() {{\n  {written}\n}}",
        "",
    ]
    return (
        "\n".join(lines)
        + (folder / "skypilot_task.bash").read_text(encoding="utf-8")
        + driver
        + ')\ncode=$?\nend_ray\nexit "$code"\n'
    )
