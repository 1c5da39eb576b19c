"""The best weights of another trial, in a trial's folder, are refused by whatever uses them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from owned_checkpoints import as_of
from recorded import LORA, Told, experiment, write

from trainables.errors import CheckpointError
from tuning.checkpoints.owners import owner_of
from tuning.checkpoints.trained_adapter import adapter_of_trial
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import Ledger, read_history
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord
from tuning.ledger.storage import trial_folder


@pytest.fixture
def folder(tmp_path: Path, run: Path) -> Path:
    """Two trials with weights of their own, whose digests are recorded."""
    trials = (Told(LORA, (0.4,), None), Told(LORA | {"learning_rate": 0.5}, (0.3,), None))
    folder = write(tmp_path / "digits", trials, of=experiment("digits"), closed=None)
    history = read_history(folder)
    asked = experiment_of(history.header)
    for number, trial in history.trials.items():
        place = trial_folder(folder, number)
        place.mkdir(parents=True)
        config = asked.trial_config(dict(trial.params))
        digest = as_of(run / "best.ckpt", place / "best.ckpt", trial=number, config=config)
        with Ledger.open(folder) as ledger:
            value = trial.reports[-1].objective
            ledger.append(
                ReportRecord(
                    trial=number, epoch=2.0, step=20, objective=value, metrics={"dice": value or 0.0},
                    saved={"best.ckpt": digest},
                )
            )  # fmt: skip
            ledger.append(EndedRecord(trial=number, outcome=Outcome.COMPLETED, value=value, epoch=2.0))
    return folder


def best(folder: Path, number: int) -> Path:
    return trial_folder(folder, number) / "best.ckpt"


def test_a_trials_own_weights_are_taken(folder: Path) -> None:
    for number in (0, 1):
        found = adapter_of_trial(folder, number)
        assert found.owner is not None
        assert found.owner.trial == number
        assert found.owner.sha256 is not None


def test_another_trials_weights_are_refused(folder: Path) -> None:
    shutil.copy(best(folder, 0), best(folder, 1))
    with pytest.raises(CheckpointError, match="is a checkpoint of trial 0, of epoch 5, not of trial 1"):
        adapter_of_trial(folder, 1)
    adapter_of_trial(folder, 0)


def test_weights_that_the_record_does_not_name_are_refused(folder: Path, run: Path) -> None:
    shutil.copy(run / "best.ckpt", best(folder, 1))  # it does not say whose it is
    with pytest.raises(CheckpointError, match="is not the file that the record names"):
        adapter_of_trial(folder, 1)


def test_another_configurations_weights_are_refused(folder: Path, run: Path) -> None:
    config = experiment("digits").trial_config(LORA | {"learning_rate": 0.25})
    as_of(run / "best.ckpt", best(folder, 1), trial=1, config=config)
    with pytest.raises(CheckpointError, match="of another configuration than that of trial 1"):
        adapter_of_trial(folder, 1)


def test_while_a_trial_runs_its_weights_may_be_newer_than_the_record(folder: Path) -> None:
    history = read_history(folder)
    asked, trial = experiment_of(history.header), history.trials[1]
    assert owner_of(asked, trial).sha256 is not None
    with Ledger.open(folder) as ledger:
        ledger.append(StartedRecord(trial=1, params=dict(trial.params), hash=trial.hash))
    assert owner_of(asked, read_history(folder).trials[1]).sha256 is None
