"""The values that driver and workers exchange: frozen, cheap to copy, equal after pickling."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.trainables.conftest import trial_job
from trainables.specs.job import Failure, ScoringJob, TrialJob, TrialResult
from trainables.specs.report import Report

LORA = '{"adapter": "lora", "epochs": 3, "lora": {"rank": 4}}'


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    return trial_job(tmp_path, LORA, 7, save_every_epochs=None)


def test_a_job_is_the_same_after_a_process_and_after_json(job: TrialJob) -> None:
    assert pickle.loads(pickle.dumps(job)) == job
    assert TrialJob.model_validate_json(job.model_dump_json()) == job
    scoring = ScoringJob(
        experiment=job.experiment, workload=job.workload, prepared=job.prepared, threads=2, trial=7
    )
    assert pickle.loads(pickle.dumps(scoring)) == scoring


def test_rays_copies_of_a_configuration_hold_one_job_and_its_tag_is_short(job: TrialJob) -> None:
    given = job.for_ray()
    assert given["trial"] == 7
    assert copy.deepcopy(given)["job"] is job
    assert str(job) == "trial 7"


def test_a_job_on_other_data_differs_in_nothing_else(job: TrialJob, tmp_path: Path) -> None:
    moved = job.with_prepared(tmp_path / "elsewhere")
    assert moved.prepared == tmp_path / "elsewhere"
    assert moved.with_prepared(job.prepared) == job


def test_a_job_is_frozen_and_closed(job: TrialJob) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        job.trial = 8  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrialJob(**{**dict(job), "colour": "red"})


def test_a_result_is_a_nested_dictionary_of_plain_values() -> None:
    report = Report(
        epoch=1.0, step=3, metrics={"dice": 0.5, "dice/cat": math.nan}, objective=0.5, train_s=1.0,
        evaluate_s=0.1, wait_s=0.0, samples=24, peak_mb=10.0, done=False,
    )  # fmt: skip
    found = TrialResult(trial=7, epoch=1.0, objective=0.5, report=report, built={"head": 3}).for_ray()
    assert json.loads(json.dumps(found, allow_nan=True))["report"]["step"] == 3
    assert found["report"]["metrics"].keys() == {"dice", "dice/cat"}
    assert (found["built"], found["failure"], found["done"]) == ({"head": 3}, None, False)
    failed = TrialResult(trial=7, failure=Failure(reason="out of memory"), done=True).for_ray()
    assert failed["failure"] == {"outcome": "failed", "reason": "out of memory", "unfit": False}
    assert math.isnan(failed["objective"])
