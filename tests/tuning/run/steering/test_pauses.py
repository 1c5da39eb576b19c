"""Trials and sweeps that users pause: they give up their workers, and continue as if nothing had happened."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from marks import exhaustive
from scripted import Scripted, Slow, Sweeps, essence, experiment, prepared_in
from scripted_pack import FakeTune, SlowPack, outcomes, started, turn_until_reports

from trainables.run_folder import CONTROL
from tuning.ledger.ledger import LEDGER, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorder import Halt
from tuning.ledger.records import (
    EndedRecord,
    PausedRecord,
    Record,
    ReportRecord,
    StartedRecord,
    UnpausedRecord,
)
from tuning.ledger.requests import PauseRequest, UnpauseRequest, leave_request, requests_in
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.run.sent_code import send_along
from tuning.run.steering.paused_sweep import end_if_trials_are_paused

SHARED: dict[str, Any] = {"search": {"trials": 5, "seed": 3, "random": {}}, "resources": {"concurrent": 1}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_in(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module", autouse=True)
def _sent() -> None:
    send_along("scripted")  # of which the packs of `scripted_pack` consist


# --- without Ray ------------------------------------------------------------------------------


def test_a_paused_trial_of_a_pack_leaves_its_lane_to_others_and_continues_later(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 12, "random": {}})
    turn_until_reports(tune, 6)
    leave_request(tune.folder, PauseRequest(trial=1, by="ann"))
    tune.turn()
    trial = tune.recorder.trial(1)
    assert trial.outcome is Outcome.PAUSED
    reports = len(trial.reports)
    assert reports > 0
    tune.run()
    assert len(tune.recorder.trial(1).reports) == reports
    assert {o for n, o in outcomes(tune).items() if n != 1} == {Outcome.COMPLETED}
    (record,) = [r for r in tune.events if isinstance(r, PausedRecord)]
    assert (record.trial, record.by) == (1, "ann")


def test_an_unpaused_trial_runs_to_its_end(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 12, "random": {}})
    turn_until_reports(tune, 6)
    for request in (PauseRequest(trial=1), PauseRequest(trial=0)):
        leave_request(tune.folder, request)
    tune.turn()
    turn_until_reports(tune, 20)
    leave_request(tune.folder, UnpauseRequest(trial=1))
    tune.run()
    assert outcomes(tune)[0] is Outcome.PAUSED
    assert outcomes(tune)[1] is Outcome.COMPLETED
    assert started(tune).count(1) == 2


def test_a_paused_trial_may_be_stopped(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 8, "random": {}})
    turn_until_reports(tune, 6)
    leave_request(tune.folder, PauseRequest(trial=1))
    tune.turn()
    (tune.folder / CONTROL / "stop-1").touch()
    tune.turn()
    leave_request(tune.folder, UnpauseRequest(trial=1))
    tune.run()
    assert outcomes(tune)[1] is Outcome.STOPPED
    assert started(tune).count(1) == 1


def test_a_resting_trial_that_is_paused_rests_no_longer(tmp_path: Path) -> None:
    rest = {"asha": {"rule": "rank", "rest": True}}
    tune = FakeTune(tmp_path / "sweep", search={"trials": 20}, scheduler=rest)
    tune.run(until=lambda: Outcome.RESTING in outcomes(tune).values())
    number = next(n for n, outcome in outcomes(tune).items() if outcome is Outcome.RESTING)
    leave_request(tune.folder, PauseRequest(trial=number))
    tune.turn()
    assert outcomes(tune)[number] is Outcome.PAUSED
    assert number not in tune.rule.resting  # type: ignore[union-attr]


def test_a_pack_that_dies_keeps_a_paused_trial_paused(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 6, "random": {}})
    turn_until_reports(tune, 6)
    tune.recorder.record(PausedRecord(trial=1, asked=1.0))  # just now: the scheduler has not seen it yet
    tune.kill(tune.running[0].config["trial"])
    tune.run()
    assert outcomes(tune)[1] is Outcome.PAUSED
    assert started(tune).count(1) == 1


def test_a_trial_that_waits_for_its_population_pauses_when_that_has_come_as_far(tmp_path: Path) -> None:
    population = {"pbt": {"interval_epochs": 2, "explore": ["learning_rate"]}}
    tune = FakeTune(tmp_path / "sweep", search={"trials": 8, "random": {}}, scheduler=population)
    tune.run(until=lambda: Outcome.RESTING in outcomes(tune).values())
    number = next(n for n, outcome in outcomes(tune).items() if outcome is Outcome.RESTING)
    leave_request(tune.folder, PauseRequest(trial=number))
    tune.turn()
    assert outcomes(tune)[number] is Outcome.RESTING
    tune.run()  # the others come as far, and then wait for it
    assert outcomes(tune)[number] is Outcome.PAUSED
    assert {o for n, o in outcomes(tune).items() if n != number} == {Outcome.RESTING}


def test_only_paused_trials_left_is_not_the_end_wherever_they_were_paused(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 2, "random": {}})
    turn_until_reports(tune, 2)
    end_if_trials_are_paused(tune.recorder, "sweep")
    tune.recorder.end(0, Outcome.INTERRUPTED)
    tune.recorder.record(PausedRecord(trial=0, asked=1.0))  # while the sweep was at rest
    with pytest.raises(Halt):
        end_if_trials_are_paused(tune.recorder, "sweep")
    tune.recorder.end(0, Outcome.STOPPED)
    end_if_trials_are_paused(tune.recorder, "sweep")


# --- with Ray ---------------------------------------------------------------------------------


def waits_for(folder: Path, number: int, kind: type[Record], within_s: float = 300.0) -> None:
    """Wait until a record has so many lines of a kind."""
    deadline = time.monotonic() + within_s
    while sum(isinstance(r, kind) for r in read_records(folder)) < number:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("packing", [exhaustive("off"), 2])
def test_a_paused_sweep_waits_and_ends_like_one_that_was_not(
    sweep: Sweeps, ray_once: None, tmp_path: Path, packing: Any
) -> None:
    parts = SHARED | {"resources": {"concurrent": 2 if packing == 2 else 1, "packing": packing}}
    trainable: Any = SlowPack if packing == 2 else Slow
    plain = launch_experiment(
        experiment(**parts), tmp_path / "plain", trainable=trainable, prepare=lambda _: sweep.prepared
    )
    folder, asked = sweep.storage / "sweep", set()

    def heard(record: Record) -> None:
        if isinstance(record, ReportRecord) and record.trial == 1 and not asked:
            asked.add(1)
            leave_request(folder, PauseRequest())
            threading.Thread(target=wait_then_unpause, daemon=True).start()

    def wait_then_unpause() -> None:
        waits_for(folder, 1, PausedRecord)
        while any(trial.ended is None for trial in read_history(folder).trials.values()):
            time.sleep(0.1)
        leave_request(folder, UnpauseRequest())

    paused = sweep(trainable, also=heard, **parts)
    assert paused.outcome is Ending.FINISHED
    records = list(read_records(folder))
    at = next(i for i, r in enumerate(records) if isinstance(r, PausedRecord))
    on = next(i for i, r in enumerate(records) if isinstance(r, UnpausedRecord))
    between = [r.outcome for r in records[at:on] if isinstance(r, EndedRecord)]
    assert between.count(Outcome.PAUSED) >= 1
    assert [each[:2] for each in essence(folder)] == [each[:2] for each in essence(plain.folder)]
    assert {trial.outcome for trial in paused.history.trials.values()} == {Outcome.COMPLETED}


@pytest.mark.slow
def test_wherever_a_driver_dies_a_pause_is_kept_and_the_end_is_the_same(
    sweep: Sweeps, ray_once: None, prepared: Path, tmp_path: Path
) -> None:
    folder, asked = sweep.storage / "sweep", set()

    def heard(record: Record) -> None:
        request = {1: PauseRequest(trial=1), 3: UnpauseRequest(trial=1)}.get(getattr(record, "trial", None))
        if isinstance(record, ReportRecord) and request is not None and record.trial not in asked:
            asked.add(record.trial)  # the trial starts over, as its scripted worker saves nothing
            leave_request(folder, request)

    sweep(Slow, also=heard, **SHARED)
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"kind":"paused"' in line)
    on = next(n for n, line in enumerate(lines) if b'"kind":"unpaused"' in line)
    assert at < on
    for cut in (at + 1, at + 2, on + 1, len(lines) - 5):
        other = tmp_path / str(cut) / folder.name
        other.mkdir(parents=True)
        (other / LEDGER).write_bytes(b"".join(lines[:cut]))
        if cut <= on:
            leave_request(other, UnpauseRequest(trial=1))
        done = resume_experiment(other, trainable=Scripted, prepare=lambda _: prepared)
        assert done.outcome is Ending.FINISHED
        assert essence(other) == essence(folder), cut


@pytest.mark.slow
def test_with_only_a_paused_trial_left_the_driver_ends_and_a_resume_continues_it(
    sweep: Sweeps, ray_once: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep.storage / "sweep"

    def heard(record: Record) -> None:
        if isinstance(record, StartedRecord) and record.trial == 1:
            leave_request(folder, PauseRequest(trial=1))

    found = sweep(Slow, also=heard, **SHARED | {"search": {"trials": 2, "seed": 3, "random": {}}})
    assert found.outcome is Ending.INTERRUPTED
    assert "only paused trials are left (1)" in capsys.readouterr().err
    still = resume_experiment(folder, trainable=Scripted, prepare=lambda _: sweep.prepared)
    assert still.outcome is Ending.INTERRUPTED, "it is still paused"
    leave_request(folder, UnpauseRequest(trial=1))
    done = resume_experiment(folder, trainable=Scripted, prepare=lambda _: sweep.prepared)
    assert done.outcome is Ending.FINISHED
    assert {trial.outcome for trial in done.history.trials.values()} == {Outcome.COMPLETED}
    assert requests_in(folder) == []
