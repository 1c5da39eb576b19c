"""Trials that rest: their workers are free, the best continue, and a resumed sweep does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from marks import slow
from scripted import Scripted, essence, experiment
from scripted_pack import FakeTune

from trainables.run_folder import CONTROL
from tuning.ledger.ledger import LEDGER, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord
from tuning.run.launch import launch_experiment
from tuning.run.proposed_jobs import rests_at
from tuning.run.resume import resume_experiment
from tuning.run.stopping.resting import end_resting

REST = {"asha": {"rule": "rank", "rest": True}}


def ended(tune: FakeTune, outcome: Outcome) -> list[int]:
    return [r.trial for r in tune.events if isinstance(r, EndedRecord) and r.outcome is outcome]


# --- without Ray ------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [1, 2])
def test_trials_of_packs_rest_and_the_best_run_to_their_end(tmp_path: Path, places: int) -> None:
    tune = FakeTune(tmp_path / "sweep", places=places, search={"trials": 20}, scheduler=REST)
    tune.run()
    assert tune.finished
    rested, trials = ended(tune, Outcome.RESTING), tune.recorder.history.trials
    assert len(rested) >= 3
    starts = [r.trial for r in tune.events if isinstance(r, StartedRecord)]
    again = {number for number in starts if starts.count(number) > 1}
    assert again
    assert again <= set(rested)
    best = max(trials.values(), key=lambda trial: trial.value or 0.0)
    assert best.outcome is Outcome.COMPLETED
    end_resting(tune.rule, tune.recorder, tune.study)
    assert {trial.outcome for trial in trials.values()} == {Outcome.COMPLETED, Outcome.PRUNED}
    assert tune.study.optuna.get_trials()[0].state.is_finished()


def test_a_trial_that_continues_goes_on_with_the_others_of_its_pack(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 20}, scheduler=REST)
    tune.run()
    clocks = {}
    for record in tune.events:
        if isinstance(record, StartedRecord):
            known = clocks.get(record.trial)
            assert record.joined is not None
            if known is not None:  # it joins where the others are, and not where it left them
                assert record.joined >= known
            clocks[record.trial] = record.joined


def test_the_user_may_stop_a_resting_trial(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 20}, scheduler=REST)
    tune.run(until=lambda: bool(ended(tune, Outcome.RESTING)))
    (number, *_) = ended(tune, Outcome.RESTING)
    (tune.folder / CONTROL).mkdir(exist_ok=True)
    (tune.folder / CONTROL / f"stop-{number}").touch()
    tune.run()
    assert tune.recorder.trial(number).outcome is Outcome.STOPPED
    starts = [r.trial for r in tune.events if isinstance(r, StartedRecord)]
    assert starts.count(number) == 1


def test_trials_are_saved_where_they_may_rest() -> None:
    assert rests_at(experiment(scheduler=REST)) == (1.0, 3.0, 9.0)
    assert rests_at(experiment(scheduler={"asha": {"rule": "rank"}})) == ()
    assert rests_at(experiment(scheduler={"median": {}})) == ()


# --- with Ray ---------------------------------------------------------------------------------

PARTS: dict[str, Any] = {
    "search": {"trials": 10, "seed": 3, "tpe": {"startup_trials": 3}},
    "scheduler": REST,
    "resources": {"concurrent": 1, "packing": "off"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path, ray_once: None) -> Path:
    """The folder of an uninterrupted sweep."""
    found = launch_experiment(
        experiment(**PARTS), tmp_path_factory.mktemp("whole"), trainable=Scripted, prepare=lambda _: prepared
    )
    assert found.outcome is Ending.FINISHED
    return found.folder


def test_a_sweep_with_resting_ends_with_no_trial_at_rest(whole: Path) -> None:
    history = read_history(whole)
    assert history.finished
    assert len(history.trials) == 10
    rests = [r for r in read_records(whole) if isinstance(r, EndedRecord) and r.outcome is Outcome.RESTING]
    assert len(rests) >= 3
    assert {trial.outcome for trial in history.trials.values()} == {Outcome.COMPLETED, Outcome.PRUNED}
    best = max(history.trials.values(), key=lambda trial: trial.value or 0.0)
    assert best.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    "after",
    [
        "report",
        slow("rest"),
        slow("start again"),
    ],
)
def test_cut_off_around_a_rest_it_ends_as_if_nothing_had_happened(
    whole: Path, tmp_path: Path, prepared: Path, after: str
) -> None:
    records = list(read_records(whole))
    rest = next(i for i, r in enumerate(records) if isinstance(r, EndedRecord) and r.outcome == "resting")
    starts = [(i, r.trial) for i, r in enumerate(records) if isinstance(r, StartedRecord)]
    again = next(i for at, (i, trial) in enumerate(starts) if trial in {n for _, n in starts[:at]})
    lines = {"report": rest, "rest": rest + 1, "start again": again + 1}[after]
    assert isinstance(records[rest - 1], ReportRecord)
    folder = tmp_path / whole.name
    folder.mkdir()
    kept = (whole / LEDGER).read_bytes().split(b"\n")[:lines]
    (folder / LEDGER).write_bytes(b"\n".join(kept) + b"\n")
    result = resume_experiment(folder, trainable=Scripted, prepare=lambda _: prepared)
    assert result.outcome is Ending.FINISHED
    assert essence(folder) == essence(whole)
