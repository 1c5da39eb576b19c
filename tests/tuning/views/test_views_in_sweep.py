"""Whole scripted sweeps with their views: launched, interrupted, resumed; a view that cannot be written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
import tracker_readers as readers
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from scripted import Scripted, experiment

from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Ending, Outcome
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.views.optuna_journal import JOURNAL_FILE

pytestmark = pytest.mark.usefixtures("ray_once")
VIEWS: dict[str, Any] = {"optuna": "journal", "tensorboard": True}
TRACKERS = {"mlflow": readers.read_mlflow, "trackio": readers.read_trackio}
ASHA = {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}}
STATES = {Outcome.COMPLETED: "COMPLETE", Outcome.PRUNED: "PRUNED"}


def check(folder: Path) -> None:
    """The journal has the content of the record."""
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))
    shown = {t.user_attrs["trial"]: t for t in optuna.load_study(study_name="sweep", storage=storage).trials}
    told = read_history(folder).trials
    assert sorted(shown) == sorted(told)
    for number, trial in told.items():
        assert trial.outcome is not None
        assert shown[number].state.name == STATES[trial.outcome]
        assert shown[number].value == trial.value
        curve = {round(r.epoch * 1000): r.objective for r in trial.reports}
        assert shown[number].intermediate_values == curve
        assert list((folder / "tensorboard" / f"{number:04d}").glob("events.out.tfevents.*"))


def check_trackers(folder: Path) -> None:
    """MLflow and Trackio have the content of the record."""
    expected = readers.recorded(read_history(folder))
    for read in TRACKERS.values():
        shown = read(folder, "sweep")
        assert sorted(shown) == sorted(expected)
        for number, run in expected.items():
            there = shown[number]
            assert (there.params, there.values, there.facts) == (run.params, run.values, run.facts)
            for name, points in run.curves.items():  # MLflow keeps milliseconds
                assert [t for *_, t in there.curves[name]] == pytest.approx([t for *_, t in points], abs=6e-4)


@pytest.mark.slow
def test_views_follow_a_sweep_and_its_resumption(tmp_path: Path, prepared: Path) -> None:
    trackers = {name: True for name in TRACKERS if find_spec(name)}
    asked = experiment(views=VIEWS | trackers, scheduler=ASHA, search={"trials": 5})
    done = launch_experiment(asked, tmp_path, trainable=Scripted, prepare=lambda _: prepared)
    assert done.outcome is Ending.FINISHED
    check(done.folder)
    (done.folder / JOURNAL_FILE).write_text('{"torn')
    resume_experiment(done.folder, trials=7, trainable=Scripted, prepare=lambda _: prepared)
    assert len(read_history(done.folder).trials) == 7
    resume_experiment(done.folder)  # the end of a sweep does not wait long for views; this does
    check(done.folder)
    if len(trackers) == len(TRACKERS):
        check_trackers(done.folder)


def test_a_view_that_cannot_be_written_is_said_and_the_sweep_ends_well(
    tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/no/such/folder/x.db"
    asked = experiment(views={"tensorboard": True, "optuna": url}, search={"trials": 2})
    done = launch_experiment(asked, tmp_path, trainable=Scripted, prepare=lambda _: prepared)
    assert done.outcome is Ending.FINISHED
    assert [trial.outcome for trial in done.history.trials.values()] == [Outcome.COMPLETED] * 2
    said = capsys.readouterr().err
    assert said.count("cannot update") == 1
    assert f"cannot update the Optuna study at {url}" in said
    assert list((done.folder / "tensorboard" / "0001").iterdir())
