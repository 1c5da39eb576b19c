"""A worker whose trial has started again elsewhere saves nothing more, however late it comes to know."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from marks import slow
from packs import Driver

from tests.trainables.conftest import actor_of, trial_job
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.job import TrialJob
from trainables.start_number import start_file, write_start
from trainables.training.checkpoint import read_state, stored_digest
from trainables.workers import running_trial
from trainables.workers.packed_trainable import PackedTrainable

ROOT = Path(__file__).parents[3]
LORA = '{"adapter": "lora", "epochs": 3, "batch_size": 8}'
FILES = (BEST_WEIGHTS, LAST_STATE)


def started(experiment: Path, number: int, trial: int = 0, **fields: Any) -> TrialJob:
    """A trial's job in its start of that number, as the driver makes it."""
    file = start_file(experiment, trial)
    write_start(file, number)
    given = {"start": number, "starts": str(file), "save_every_epochs": 1.0} | fields
    return trial_job(experiment, LORA, trial, **given)


def contents(experiment: Path, trial: int = 0) -> list[bytes]:
    folder = experiment / "trials" / f"{trial:04d}"
    return [(folder / name).read_bytes() for name in FILES]


def finish(job: TrialJob) -> list[dict[str, Any]]:
    actor = actor_of(job)
    results = [actor.step()]
    while not results[-1]["done"]:
        results.append(actor.step())
    actor.cleanup()
    return results


def test_results_say_the_digests_of_both_files(tmp_path: Path) -> None:
    results = finish(started(tmp_path, 1))
    folder = tmp_path / "trials" / "0000"
    last: dict[str, str] = {}
    for result in results:
        last |= result["saved"]
    assert last == {name: stored_digest(folder / name) for name in FILES}


def test_after_a_restart_the_first_report_says_what_is_there(tmp_path: Path) -> None:
    actor = actor_of(started(tmp_path, 1))
    actor.step()
    again = actor_of(started(tmp_path, 2)).step()
    folder = tmp_path / "trials" / "0000"
    assert again["saved"] == {name: stored_digest(folder / name) for name in FILES}


@pytest.mark.parametrize("in_mid_epoch", [True, False])
def test_a_worker_that_finds_a_newer_start_stops_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_mid_epoch: bool
) -> None:
    actor = actor_of(started(tmp_path, 1))
    actor.step()
    finish(started(tmp_path, 2))
    before = contents(tmp_path)
    monkeypatch.setattr(running_trial, "POLL_INTERVAL_S", 0.0 if in_mid_epoch else 1e9)
    last = actor.step()
    assert (last["done"], last["report"], last["failure"]) == (True, None, None)
    actor.cleanup()
    assert contents(tmp_path) == before
    assert read_state(tmp_path / "trials" / "0000" / LAST_STATE).held["step"] == 9


def test_a_trial_of_a_pack_that_started_elsewhere_saves_nothing_and_its_partner_does(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_trial, "SAVING_SHARE", 0)
    driver = Driver(tmp_path, actor, save_every_s=0.0)
    for number in (0, 1):
        file = start_file(tmp_path, number)
        write_start(file, 1)
        driver.start(number, text=LORA, start=1, starts=str(file))
    driver.step()
    finish(started(tmp_path, 2))
    before = contents(tmp_path)
    driver.finish()
    assert contents(tmp_path) == before
    assert [result["epoch"] for result in driver.results[1]] == [1.0, 2.0, 3.0]
    assert driver.results[0][-1]["report"] is None
    assert read_state(tmp_path / "trials" / "0001" / LAST_STATE).held["step"] == 9


FROZEN = """
import sys
from trainables.specs.job import TrialJob
from trainables.workers import running_trial
from trainables.workers.ray_trainable import AdapterTrainable

running_trial.SAVING_SHARE = 0
actor = AdapterTrainable.__new__(AdapterTrainable)
actor.setup({"job": TrialJob.model_validate_json(sys.argv[1])})
actor.step()
print("reported", flush=True)
sys.stdin.readline()
for _ in range(2):
    result = actor.step()
    if result["done"]:
        break
actor.cleanup()
print("reports" if result["report"] else "gave up", flush=True)
"""


@pytest.mark.parametrize("save_every_s", [0.0, slow(1e9)])
def test_a_frozen_worker_whose_trial_finished_elsewhere_overwrites_nothing_when_it_thaws(
    tmp_path: Path, save_every_s: float
) -> None:
    job = started(tmp_path, 1, save_every_s=save_every_s)
    command = [sys.executable, "-c", FROZEN, job.model_dump_json()]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == "reported\n"
        worker.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
        results = finish(started(tmp_path, 2, save_every_s=save_every_s))
        assert [result["epoch"] for result in results] == [1.0, 2.0, 3.0]
        before = contents(tmp_path)
        worker.stdin.write("\n")
        worker.stdin.flush()
        worker.send_signal(signal.SIGCONT)
        assert worker.stdout.readline() == "gave up\n"
    assert contents(tmp_path) == before
    held = read_state(tmp_path / "trials" / "0000" / LAST_STATE)
    assert (held.held["step"], held.weights.identity.start) == (9, 2)  # type: ignore[union-attr]


def test_another_trials_state_is_not_continued(tmp_path: Path) -> None:
    finish(started(tmp_path, 1, trial=1))
    mine = tmp_path / "trials" / "0000"
    mine.mkdir()
    (mine / LAST_STATE).write_bytes((tmp_path / "trials" / "0001" / LAST_STATE).read_bytes())
    results = finish(started(tmp_path, 1))
    assert [result["epoch"] for result in results] == [1.0, 2.0, 3.0]
    log = (mine / "log.txt").read_text()
    assert "starting over: " in log
    assert "is a checkpoint of trial 1, of epoch 3, not of trial 0" in log
