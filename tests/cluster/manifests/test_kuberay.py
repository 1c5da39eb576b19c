"""The manifest of a RayJob. No Kubernetes runs here: KubeRay's own schema says what it would accept."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from crd import rayjob_errors, undocumented
from jobs import EXPERIMENT, check_shell, job, kuberay

from cluster.manifests.kuberay import (
    LARGEST_EXPERIMENT,
    LONGEST_NAME,
    TooLargeError,
    manifest_name,
    rayjob_manifest,
)
from cluster.manifests.spec import KuberayProfile

PROFILES: list[dict[str, Any]] = [
    {},
    {"nodes": 1},
    {
        "nodes": 4, "gpus": 2, "queue": "vision", "namespace": "team", "cache": "/experiments/.cache",
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"}, "wall_time": "1d", "attempts": 1,
        "gpu_resource": "amd.com/gpu", "memory": "512MiB",
    },
]  # fmt: skip


def documents(profile: KuberayProfile, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap and the RayJob."""
    configuration, ray_job = yaml.safe_load_all(rayjob_manifest(profile, job(**fields)))
    return configuration, ray_job


@pytest.mark.parametrize("keys", PROFILES)
def test_kuberays_schema_accepts_the_manifest(keys: dict[str, Any]) -> None:
    assert rayjob_errors(documents(kuberay(**keys))[1]) == []


def test_the_schema_check_can_fail() -> None:
    valid = documents(kuberay())[1]
    for path, value in (
        (("spec", "entrypont"), "x"),
        (("spec", "backoffLimit"), "4"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers"), "x"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "container"), []),
    ):
        broken = copy.deepcopy(valid)
        inner = broken
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (error,) = rayjob_errors(broken)
        assert path[-1] in error


@pytest.mark.parametrize("keys", PROFILES)
def test_fields_are_those_of_kuberays_reference(keys: dict[str, Any]) -> None:
    ray_job = documents(kuberay(**keys))[1]
    assert undocumented(ray_job) == []
    assert undocumented({**ray_job, "spec": ray_job["spec"] | {"entrypont": 1}}) == ["spec.entrypont"]


def test_head_and_workers_have_what_the_profile_asks_for() -> None:
    configuration, ray_job = documents(kuberay(**PROFILES[2]))
    spec, metadata = ray_job["spec"], ray_job["metadata"]
    assert metadata["labels"] == {"kueue.x-k8s.io/queue-name": "vision"}
    assert metadata["namespace"] == configuration["metadata"]["namespace"] == "team"
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 86_400)
    assert spec["shutdownAfterJobFinishes"]
    cluster = spec["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 3
    for pod in (cluster["headGroupSpec"]["template"]["spec"], group["template"]["spec"]):
        (container,) = pod["containers"]
        amounts = {"cpu": "4", "memory": "512Mi", "amd.com/gpu": "2"}
        assert container["resources"] == {"requests": amounts, "limits": amounts}
        assert container["env"] == [
            {"name": "RAY_worker_niceness", "value": "0"},
            {"name": "ADAPTERTUNE_CACHE", "value": "/experiments/.cache"},
        ]
        assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {
            "experiments": "/experiments", "job": "/etc/adaptertune", "shared-memory": "/dev/shm",
        }  # fmt: skip
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)


def test_a_plain_profile_has_no_queue_no_limit_and_several_attempts() -> None:
    configuration, ray_job = documents(kuberay(nodes=1))
    assert "labels" not in ray_job["metadata"]
    assert "namespace" not in ray_job["metadata"] | configuration["metadata"]
    assert "activeDeadlineSeconds" not in ray_job["spec"]
    assert ray_job["spec"]["backoffLimit"] == 4
    assert "workerGroupSpecs" not in ray_job["spec"]["rayClusterSpec"]


def test_the_experiment_is_in_the_manifest_as_it_is() -> None:
    text = EXPERIMENT + 'odd: "\u2028 \\t: - \'#"\n\n  trailing:   \n'
    configuration, _ = documents(kuberay(), experiment=text)
    assert configuration["data"]["experiment.yaml"] == text
    configuration, _ = documents(kuberay(), experiment=None)
    assert "experiment.yaml" not in configuration["data"]


def test_an_experiment_that_a_configmap_cannot_hold_is_refused() -> None:
    documents(kuberay(), experiment="x" * LARGEST_EXPERIMENT)
    with pytest.raises(TooLargeError, match=f"at most {LARGEST_EXPERIMENT}"):
        rayjob_manifest(kuberay(), job(experiment="x" * (LARGEST_EXPERIMENT + 1)))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/s/jobs/nuclei-1", "nuclei-1"),
        ("/s/jobs/BCCD_v2.1-12", "bccd-v2-1-12"),
        ("/s/jobs/2026-cells-1", "sweep-2026-cells-1"),
        (f"/s/jobs/{'a' * 100}-3", f"{'a' * (LONGEST_NAME - 2)}-3"),
        ("/s/jobs/---1", "sweep-1"),
    ],
)
def test_a_name_is_one_that_kubernetes_allows(folder: str, name: str) -> None:
    assert manifest_name(job(folder=folder)) == name
    assert len(name) <= LONGEST_NAME


# --- the script of the driver -----------------------------------------------------------------


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    """Runs the driver's script with an `adaptertune` that notes what it is asked and ends with a code.

    meanwhile: a shell line that runs before it ends.
    """
    programs, storage, calls = tmp_path / "programs", tmp_path / "a b", tmp_path / "calls"
    programs.mkdir()
    (programs / "adaptertune").write_text(
        f'#!/bin/sh\necho "$1" $(echo "$*" | grep -o -e --take-over) >> "{calls}"\n'
        f'if [ "$1" = launch ] && [ "$CODE" != 2 ]; then mkdir -p "{storage}/nuclei"; '
        f': > "{storage}/nuclei/ledger.jsonl"; fi\neval "$MEANWHILE"\nexit "$CODE"\n'
    )
    (programs / "adaptertune").chmod(0o755)

    def run(code: int, *, meanwhile: str = "", **fields: Any) -> str:
        script = documents(kuberay(storage=str(storage)), **fields)[0]["data"]["run.sh"]
        check_shell(script, tmp_path)
        calls.write_text("")
        done = subprocess.run(
            ["bash", "-c", script],
            env=os.environ
            | {"PATH": f"{programs}:{os.environ['PATH']}", "CODE": str(code), "MEANWHILE": meanwhile},
            check=False,
        )
        assert done.returncode == code
        return calls.read_text().strip()

    return run


def test_a_later_attempt_continues_what_the_first_one_began(attempt: Any) -> None:
    again = "resume --take-over"
    assert [attempt(75), attempt(75), attempt(0), attempt(0)] == ["launch", again, again, again]


def test_an_attempt_that_recorded_nothing_is_followed_by_another_launch(attempt: Any) -> None:
    assert [attempt(2), attempt(2), attempt(1), attempt(0)] == [
        "launch",
        "launch",
        "launch",
        "resume --take-over",
    ]


def test_a_first_attempt_at_an_experiment_that_exists_takes_nothing_over(
    attempt: Any, tmp_path: Path
) -> None:
    (tmp_path / "a b" / "nuclei").mkdir(parents=True)
    (tmp_path / "a b" / "nuclei" / "ledger.jsonl").write_text("")
    refused = [attempt(2, experiment=None), attempt(2, experiment=None)]  # beside a driver that runs
    assert [*refused, attempt(1, experiment=None)] == ["resume", "resume", "resume"]
    assert attempt(0, experiment=None) == "resume --take-over"


def test_an_attempt_that_was_taken_over_leaves_the_mark_to_the_later_one(
    attempt: Any, tmp_path: Path
) -> None:
    mark = f"{tmp_path}/a b/jobs/nuclei-1.started"
    meanwhile = f"mkdir '{tmp_path}/a b/nuclei'; : > '{tmp_path}/a b/nuclei/ledger.jsonl'; echo x > '{mark}'"
    assert attempt(2, meanwhile=meanwhile) == "launch"
    assert attempt(0) == "resume --take-over"


def test_an_experiment_of_others_with_this_name_is_never_continued(attempt: Any, tmp_path: Path) -> None:
    (tmp_path / "a b" / "nuclei").mkdir(parents=True)
    (tmp_path / "a b" / "nuclei" / "ledger.jsonl").write_text("")
    # `launch` refuses the name with code 2, each time anew.
    assert [attempt(2), attempt(2), attempt(2)] == ["launch", "launch", "launch"]


def test_a_job_that_resumes_only_resumes(attempt: Any) -> None:
    assert [attempt(2, experiment=None), attempt(0, experiment=None)] == ["resume", "resume"]
