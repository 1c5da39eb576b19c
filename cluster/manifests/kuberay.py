"""The manifest of a sweep for Kubernetes: a RayJob of KubeRay, and a ConfigMap with the experiment.

KubeRay starts a Ray cluster for the job, runs the driver on its head, and starts another cluster if that is
lost; the driver then continues the experiment that is on the claim.
"""

from __future__ import annotations

import re
from importlib.resources import files
from shlex import quote
from typing import Any

from cluster.manifests.spec import KuberayProfile, SweepJob
from cluster.manifests.units import Memory
from cluster.manifests.yaml_text import yaml_text

LONGEST_NAME = 47
"""The longest name of a RayJob, in characters: KubeRay adds to it."""
LARGEST_EXPERIMENT = 900_000
"""The largest experiment file in bytes: Kubernetes keeps a ConfigMap of at most 1 MiB."""
_MOUNT = "/etc/adaptertune"
_SHARED_MEMORY = 10
"""The share of /dev/shm, which holds Ray's object store, is one part in so many of a pod's memory."""


class TooLargeError(ValueError):
    """The experiment file does not fit into a manifest."""


def rayjob_manifest(profile: KuberayProfile, job: SweepJob) -> str:
    """The manifest, which `kubectl create -f FILE` submits.

    Raises TooLargeError if the experiment file is too large.
    """
    if job.experiment is not None and len(job.experiment.encode()) > LARGEST_EXPERIMENT:
        raise TooLargeError(
            f"the experiment file has {len(job.experiment.encode())} bytes, and a manifest can hold at most"
            f" {LARGEST_EXPERIMENT}"
        )
    name = manifest_name(job)
    held = {"run.sh": _script(profile, job, name)}
    if job.experiment is not None:
        held["experiment.yaml"] = job.experiment
    place = {"namespace": profile.namespace} if profile.namespace is not None else {}
    configuration = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **place},
        "data": held,
    }
    queue = {"labels": {"kueue.x-k8s.io/queue-name": profile.queue}} if profile.queue is not None else {}
    limit = {} if profile.wall_time is None else {"activeDeadlineSeconds": profile.wall_time.seconds}
    ray_job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, **place, **queue},
        "spec": {
            "entrypoint": f"bash {_MOUNT}/run.sh",
            "submissionMode": "K8sJobMode",
            "backoffLimit": profile.attempts - 1,
            **limit,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "rayClusterSpec": _cluster(profile, name),
        },
    }
    return yaml_text(configuration, ray_job)


def manifest_name(job: SweepJob) -> str:
    """The name of the RayJob: that of the job's folder, such as nuclei-1, as Kubernetes allows it."""
    whole = job.folder.rpartition("/")[2]
    plain = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"sweep-{plain}"
    if len(plain) > LONGEST_NAME:
        start, _, number = plain.rpartition("-")
        plain = f"{start[: LONGEST_NAME - len(number) - 1].rstrip('-')}-{number}"
    return plain


def _script(profile: KuberayProfile, job: SweepJob, name: str) -> str:
    body = (files("cluster.manifests") / "launch_or_resume.bash").read_text(encoding="utf-8")
    lines = [
        "#!/bin/bash",
        f"name={quote(job.name)}",
        f"new={int(job.experiment is not None)} # 0 continues an experiment",
        f"storage={quote(profile.storage)}",
        f"experiment={_MOUNT}/experiment.yaml",
        f"attempts_of={quote(name)}",
        "address=auto",
        "",
    ]
    return "\n".join(lines) + body


def _cluster(profile: KuberayProfile, name: str) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "authOptions": {"mode": "token"},
        "headGroupSpec": {"rayStartParams": {}, "template": _pod(profile, name, "ray-head")},
    }
    if profile.nodes > 1:
        others = profile.nodes - 1
        cluster["workerGroupSpecs"] = [
            {
                "groupName": "workers",
                "replicas": others,
                "minReplicas": others,
                "maxReplicas": others,
                "rayStartParams": {},
                "template": _pod(profile, name, "ray-worker"),
            }
        ]
    return cluster


def _pod(profile: KuberayProfile, name: str, container: str) -> dict[str, Any]:
    amounts: dict[str, Any] = {"cpu": str(profile.cpus), "memory": _quantity(profile.memory)}
    if profile.gpus:
        amounts[profile.gpu_resource] = str(profile.gpus)
    shared = Memory(max(1, profile.memory.mebibytes // _SHARED_MEMORY))
    environment = [{"name": "RAY_worker_niceness", "value": "0"}]  # Ray's is 15
    if profile.cache:
        environment.append({"name": "ADAPTERTUNE_CACHE", "value": profile.cache})
    selector = {"nodeSelector": dict(profile.node_selector)} if profile.node_selector else {}
    return {
        "spec": {
            **selector,
            "containers": [
                {
                    "name": container,
                    "image": profile.image,
                    "env": environment,
                    "resources": {"requests": dict(amounts), "limits": dict(amounts)},
                    "volumeMounts": [
                        {"name": "experiments", "mountPath": profile.storage},
                        {"name": "job", "mountPath": _MOUNT, "readOnly": True},
                        {"name": "shared-memory", "mountPath": "/dev/shm"},
                    ],
                }
            ],
            "volumes": [
                {"name": "experiments", "persistentVolumeClaim": {"claimName": profile.claim}},
                {"name": "job", "configMap": {"name": name}},
                {
                    "name": "shared-memory",
                    "emptyDir": {"medium": "Memory", "sizeLimit": _quantity(shared)},
                },
            ],
        }
    }


def _quantity(memory: Memory) -> str:
    """An amount of memory as Kubernetes writes it."""
    return str(memory).removesuffix("B")
