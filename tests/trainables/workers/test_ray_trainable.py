"""The actor, without a cluster: trials one after the other, failures as results, repeated reports."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.conftest import actor_of, config, report_values, run, swap, trial_job, workload
from trainables.specs.job import TrialJob
from trainables.specs.report import Report
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.initial_look import TrainingProbe
from trainables.workers import running_trial
from trainables.workers.ray_trainable import AdapterTrainable

LORA = '{"adapter": "lora", "epochs": 3, "batch_size": 8}'
ADALORA_WITHOUT_ROOM = '{"adapter": "adalora", "epochs": 1, "batch_size": 24}'


@pytest.fixture
def asked(tmp_path: Path) -> TrialJob:
    return trial_job(tmp_path, LORA)


@pytest.fixture
def actor(asked: TrialJob) -> AdapterTrainable:
    return actor_of(asked)


def steps(actor: AdapterTrainable) -> list[dict[str, Any]]:
    results = [actor.step()]
    while not results[-1]["done"]:
        results.append(actor.step())
    return results


def test_a_trial_runs_to_its_end_and_the_first_result_says_what_was_built(actor: AdapterTrainable) -> None:
    results = steps(actor)
    assert [r["epoch"] for r in results] == [1.0, 2.0, 3.0]
    assert results[0]["built"]["adapter"] > 0
    assert results[0]["head"] == "head kept"
    assert all(r["head"] is None for r in results[1:])
    assert [r["worker"] for r in results] == [f"{socket.gethostname()}:{os.getpid()}", None, None]
    assert results[0]["baseline"]["dice"] < 0.1
    assert all(r["built"] is None and r["baseline"] is None for r in results[1:])
    assert all(r["still"] == [] for r in results)


def test_a_sweep_that_weighs_latency_gets_it_once_and_alone(tmp_path: Path) -> None:
    text = LORA.replace("3", "2", 1)
    plain = steps(actor_of(trial_job(tmp_path / "plain", text)))
    asked = workload(Task.SEGMENTATION).model_copy(update={"also": ("latency_ms",)})
    found = steps(actor_of(trial_job(tmp_path / "timed", text, workload=asked)))
    assert found[0]["latency_ms"] > 0
    assert [each["latency_ms"] for each in (*plain, found[1])] == [None] * 3
    log = (tmp_path / "timed" / "trials" / "0000" / "log.txt").read_text()
    assert "latency " in log
    assert "beside other trials" not in log
    curves = [report_values([Report.model_validate(r["report"]) for r in each]) for each in (plain, found)]
    assert curves[0] == curves[1], "what is trained does not change"


def test_weights_without_a_gradient_are_not_counted_and_are_named(
    actor: AdapterTrainable, asked: TrialJob
) -> None:
    hra = '{"adapter": "peft", "peft": {"method": "HRA"}, "freezing": "unfrozen", "epochs": 2}'
    whole = '{"adapter": "none", "freezing": "full", "epochs": 2}'
    built = {}
    for trial, text in enumerate((hra, whole), start=1):
        swap(actor, trial_job(asked.experiment, text, trial))
        first, second = steps(actor)
        built[text] = first["built"]["backbone"]
        assert second["still"] == []
        assert (first["still"] != []) == (text == hra)
    blocks, width = 4, 96
    assert built[whole] - built[hra] == 2 * blocks * width * width
    log = (asked.experiment / "trials" / "0001" / "log.txt").read_text()
    assert "has no gradient and never trains: " in log
    assert "q_proj.base_layer.weight (4)" in log


def test_a_swapped_in_trial_equals_one_in_a_fresh_engine(actor: AdapterTrainable, asked: TrialJob) -> None:
    steps(actor)
    other = LORA.replace("lora", "loha")
    swap(actor, trial_job(asked.experiment, other, 1))
    swapped = [Report.model_validate(r["report"]) for r in steps(actor)]
    engine = Engine(workload(Task.SEGMENTATION), asked.prepared, device="cpu")
    assert report_values(swapped) == report_values(run(engine, engine.start(config(other))))


def test_a_trial_that_cannot_be_built_fails_alone(actor: AdapterTrainable, asked: TrialJob) -> None:
    swap(actor, trial_job(asked.experiment, ADALORA_WITHOUT_ROOM, 1))
    (failed,) = steps(actor)
    assert failed["failure"]["outcome"] == "failed"
    assert "steps" in failed["failure"]["reason"]
    assert "Traceback" in (asked.experiment / "trials" / "0001" / "log.txt").read_text()
    swap(actor, trial_job(asked.experiment, LORA, 2))
    assert len(steps(actor)) == 3


def test_a_diverging_trial_says_so(actor: AdapterTrainable, asked: TrialJob) -> None:
    wild = '{"adapter": "none", "freezing": "full", "learning_rate": 1e18, "clip_norm": null}'
    swap(actor, trial_job(asked.experiment, wild, 1))
    assert steps(actor)[-1]["failure"]["outcome"] == "diverged"


@pytest.mark.parametrize("reports", [1, 3])
def test_after_a_workers_death_no_report_is_missing(
    actor: AdapterTrainable, asked: TrialJob, reports: int
) -> None:
    before = [actor.step() for _ in range(reports)]
    again = steps(actor_of(asked))
    curve = [Report.model_validate(r["report"]) for r in [*before[:-1], *again]]
    assert [r["report"] for r in again][:1] == [before[-1]["report"]]
    assert [report.epoch for report in curve] == [1.0, 2.0, 3.0]


def test_a_restored_trial_does_not_look_at_the_training_images_again(
    asked: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    eva = '{"adapter": "lora", "lora": {"init": "eva", "rank": 4}, "epochs": 2, "batch_size": 8}'
    whole = steps(actor_of(trial_job(asked.experiment, eva, 1)))
    died = trial_job(asked.experiment, eva, 2)
    actor_of(died).step()

    def looked(*_: Any) -> None:
        raise AssertionError("the trial looked again")

    monkeypatch.setattr(TrainingProbe, "forward", looked)
    again = steps(actor_of(died))
    assert [r["report"]["metrics"] for r in again] == [r["report"]["metrics"] for r in whole]


def test_a_failing_baseline_fails_no_trial_and_is_tried_again(
    asked: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "baseline_metrics", lambda self: 1 / 0)
        actor = actor_of(asked)
        assert actor.step()["failure"] is None
    swap(actor, trial_job(asked.experiment, LORA, 1))
    assert actor.step()["baseline"] is not None


def test_a_stopped_trial_keeps_what_it_had_when_it_was_stopped(
    actor: AdapterTrainable, asked: TrialJob, tmp_path: Path
) -> None:
    """Its worker is in the middle of an epoch, and the record never gets the epoch's report."""
    actor.step()
    files = [tmp_path / "trials" / "0000" / name for name in ("best.ckpt", "last.ckpt")]
    before = [file.read_bytes() for file in files]
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "stopped.0").touch()
    actor.step()
    swap(actor, trial_job(asked.experiment, LORA, 1))
    assert [file.read_bytes() for file in files] == before
    actor.step()
    assert (tmp_path / "trials" / "0001" / "best.ckpt").exists()


def test_a_trial_is_saved_in_the_middle_of_an_epoch_and_goes_on_from_there(
    actor: AdapterTrainable, asked: TrialJob, tmp_path: Path
) -> None:
    """When a save is due, and when the sweep is about to end."""
    whole = [Report.model_validate(r["report"]) for r in steps(actor)]
    for number, every_s in ((1, 0.0), (2, 1e9)):
        job = trial_job(asked.experiment, LORA, number, save_every_s=every_s, save_every_epochs=None)
        swap(actor, job)
        assert actor.running.state is not None
        if number == 2:
            (tmp_path / "control").mkdir()
            (tmp_path / "control" / "halt").touch()
            actor.running._polled_at = 0.0
        assert list(actor.engines.of(job).advance([actor.running.state], steps=1)) == []
        actor.running.between_steps()
        assert (tmp_path / "trials" / f"{number:04d}" / "halted").exists() is (number == 2)
        (tmp_path / "control" / "halt").unlink(missing_ok=True)
        other = actor_of(trial_job(asked.experiment, LORA, number))
        assert other.running.state is not None
        assert other.running.state.step == 1
        assert report_values([Report.model_validate(r["report"]) for r in steps(other)]) == report_values(
            whole
        )


@pytest.mark.parametrize("in_mid_epoch", [True, False])
def test_a_paused_trial_is_saved_and_given_up_and_goes_on_elsewhere(
    actor: AdapterTrainable,
    asked: TrialJob,
    tmp_path: Path,
    in_mid_epoch: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = [Report.model_validate(r["report"]) for r in steps(actor)]
    monkeypatch.setattr(running_trial, "POLL_INTERVAL_S", 0.0 if in_mid_epoch else 1e9)
    job = trial_job(asked.experiment, LORA, 1, save_every_epochs=None)
    swap(actor, job)
    first = actor.step()
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "paused.1").touch()
    gone = actor.step()
    assert (gone["report"] is None) == in_mid_epoch
    (tmp_path / "control" / "paused.1").unlink()
    other = actor_of(job)
    assert other.running.state is not None
    assert other.running.state.step == (4 if in_mid_epoch else 6)
    found = [Report.model_validate(r["report"]) for r in [first, *steps(other)]]
    assert report_values(found) == report_values(whole)
