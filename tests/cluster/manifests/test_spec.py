"""The keys of profiles. Messages with file and line are tested in `test_read_profile.py`."""

from __future__ import annotations

from typing import Any

import pytest
from jobs import kuberay, skypilot, slurm
from pydantic import ValidationError

from cluster.manifests.spec import OWN_OPTIONS, PROFILES, SlurmProfile, keys_of_profile


def reasons(make: Any, **keys: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        make(**keys)
    return [error["msg"] for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("make", "keys", "reason"),
    [
        (slurm, {"nodes": 0}, "greater than or equal to 1"),
        (slurm, {"cpus": "4"}, "valid integer"),
        (slurm, {"gpus": -1}, "greater than or equal to 0"),
        (slurm, {"gpu_type": "a100"}, "gpu_type needs gpus: 1 or more"),
        (slurm, {"storage": "experiments"}, "must be an absolute path, the same on every node"),
        (slurm, {"storage": "/a\nb"}, "printable text on one line"),
        (slurm, {"partition": "a b"}, "one word without spaces"),
        (slurm, {"setup": ["a\nb"]}, "printable text on one line"),
        (slurm, {"setup": "module load cuda"}, "valid array"),
        (slurm, {"stop_before": "30s"}, "at least 1min: Slurm sends its signal up to a minute late, got 30s"),
        (slurm, {"stop_before": "1h"}, "shorter than wall_time (1h), got 1h"),
        (slurm, {"options": ["-x"]}, "must be a long option of sbatch"),
        (slurm, {"options": ["--comment=a\nb"]}, "printable text on one line"),
        (slurm, {"image": "x"}, "Extra inputs"),
        (kuberay, {"claim": "Not_A_Name"}, "must be a name of Kubernetes"),
        (kuberay, {"storage": None}, "valid string"),
        (kuberay, {"partition": "gpu"}, "Extra inputs"),
        (skypilot, {"gpus": 1}, "gpus needs gpu_type"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(make: Any, keys: dict[str, Any], reason: str) -> None:
    found = reasons(make, **keys)
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize("option", OWN_OPTIONS)
def test_options_that_the_job_file_sets_are_refused(option: str) -> None:
    for text in (option, f"{option}=1"):
        (found,) = reasons(slurm, options=[text])
        assert f"{option} is set by the job file; {OWN_OPTIONS[option]}" in found


def test_values_are_frozen_and_know_their_units() -> None:
    profile = slurm(memory="64GiB", wall_time="1d")
    assert profile.memory is not None
    assert (profile.memory.mebibytes, profile.wall_time.seconds) == (65_536, 86_400)
    with pytest.raises(ValidationError, match="frozen"):
        profile.nodes = 3  # type: ignore[misc]


def test_a_folder_has_no_slash_at_its_end() -> None:
    assert slurm(storage="/shared/").storage == "/shared"
    assert slurm(storage="/").storage == "/"


def test_every_scheduler_has_its_keys() -> None:
    assert list(PROFILES) == ["slurm", "kuberay", "skypilot"]
    for scheduler, kind in PROFILES.items():
        keys = keys_of_profile(scheduler)
        assert keys[0] == "scheduler"
        assert set(keys) == set(kind.model_fields)
    assert "partition" in SlurmProfile.model_fields
