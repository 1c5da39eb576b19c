"""What a run of `train` trains first."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import experiment

from trainables.errors import StorageError
from tuning.checkpoints.run_stages import STAGES, run_stages, stages_of, write_stages
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome
from tuning.ledger.parent import Parent
from tuning.ledger.records import EndedRecord, ExperimentRecord, StartedRecord

PARAMS = {"adapter": "loha", "learning_rate": 0.01}


def history(outcome: Outcome) -> History:
    longer = Parent(trial=0, state=True, file="f", epochs=12)
    records = (
        StartedRecord(trial=0, params=PARAMS, hash="h0"),
        EndedRecord(trial=0, outcome=outcome, epoch=9.0),
        StartedRecord(trial=1, params=PARAMS, hash="h1", parent=longer),
    )
    return History.of(ExperimentRecord(name="a", file="", experiment={}), records)


def test_they_are_kept_with_the_run(tmp_path: Path) -> None:
    stages = stages_of(experiment(), history(Outcome.COMPLETED), 1)
    assert [(stage.until, stage.state, stage.config.epochs) for stage in stages] == [(9.0, True, 9)]
    write_stages(tmp_path, stages)
    assert run_stages(tmp_path) == stages


def test_a_trial_of_its_own_has_none_and_leaves_no_file(tmp_path: Path) -> None:
    write_stages(tmp_path, stages_of(experiment(), history(Outcome.COMPLETED), 0))
    assert list(tmp_path.iterdir()) == []
    assert run_stages(tmp_path) == ()


def test_a_beginning_that_is_not_known_is_an_error() -> None:
    with pytest.raises(StorageError, match="trial 1, which continues trial 0 from where that was saved last"):
        stages_of(experiment(), history(Outcome.STOPPED), 1)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / STAGES).write_text("[{}")
    with pytest.raises(StorageError, match=r"stages\.json cannot be read"):
        run_stages(tmp_path)
