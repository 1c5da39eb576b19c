"""How a driver lets running trials save their state before a sweep ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import experiment

from trainables.run_folder import CONTROL, HALT, HALTED
from tuning.ledger.attempts import Attempt
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ExperimentRecord, StartedRecord
from tuning.run import saving
from tuning.run.composition import Composition


@pytest.mark.parametrize("taken_over", [False, True])
def test_what_it_has_asked_of_workers_goes_unless_another_driver_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken_over: bool
) -> None:
    folder = tmp_path / "sweep"
    header = ExperimentRecord(name="sweep", file="", experiment={})
    files = [folder / CONTROL / HALT, folder / "trials" / "0000" / HALTED]

    def saved(_: float) -> None:
        assert [file.exists() for file in files] == [True, False]
        files[1].touch()
        if taken_over:
            Attempt.claim(folder).end()

    monkeypatch.setattr(saving.time, "sleep", saved)
    with Ledger.create(folder, header) as ledger:
        files[1].parent.mkdir(parents=True)
        files[1].touch()  # of an earlier end
        recorder = Recorder(ledger, History(header))
        recorder.record(StartedRecord(trial=0, params={}, hash="0"))
        saving.save_running(Composition(experiment(), folder, recorder))
    assert [file.exists() for file in files] == [taken_over, taken_over]
