"""Two drivers of one experiment that no lock keeps apart: one trains, the other is refused or stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elsewhere import forget_lock
from marks import slow
from scripted import Scripted, essence, experiment

from trainables.errors import LedgerError, SupersededError
from tuning.ledger.attempts import Attempt
from tuning.ledger.ledger import LEDGER, read_records
from tuning.ledger.records import ExperimentRecord, Record, ReportRecord, ResumedRecord
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

PARTS: dict[str, Any] = {
    "search": {"trials": 6, "seed": 5, "tpe": {"startup_trials": 3}},
    "scheduler": {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}},
    "resources": {"concurrent": 1},
}

pytestmark = pytest.mark.usefixtures("ray_once")


def launched(storage: Path, prepared: Path, **how: Any) -> LaunchResult:
    return launch_experiment(
        experiment(**PARTS), storage, trainable=Scripted, prepare=lambda _: prepared, **how
    )


def resumed(folder: Path, prepared: Path) -> LaunchResult:
    return resume_experiment(folder, trainable=Scripted, prepare=lambda _: prepared)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of an uninterrupted sweep."""
    return launched(tmp_path_factory.mktemp("whole"), prepared).folder


def at_report(number: int, act: Callable[[], None]) -> Callable[[Record], None]:
    """Call `act` once, when so many reports are recorded."""
    seen = 0

    def look(record: Record) -> None:
        nonlocal seen
        seen += isinstance(record, ReportRecord)
        if isinstance(record, ReportRecord) and seen == number:
            act()

    return look


def test_with_the_lock_removed_a_second_driver_is_refused_and_trains_nothing(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    folder = tmp_path / whole.name
    refused: list[str] = []

    def try_another() -> None:
        forget_lock(folder)
        before = (folder / LEDGER).read_bytes()
        with pytest.raises(LedgerError) as caught:
            resumed(folder, prepared)
        refused.append(str(caught.value))
        assert (folder / LEDGER).read_bytes() == before

    launched(tmp_path, prepared, on_event=at_report(4, try_another))
    assert len(refused) == 1
    assert "another driver is running" in refused[0]
    assert essence(folder) == essence(whole)


@pytest.mark.parametrize("reports", [slow(1), 7])
def test_a_driver_that_was_taken_over_stops_and_the_other_ends_the_sweep(
    whole: Path, tmp_path: Path, prepared: Path, reports: int
) -> None:
    folder = tmp_path / whole.name
    left: list[bytes] = []

    def take_over() -> None:
        Attempt.claim(folder).end()
        left.append((folder / LEDGER).read_bytes())

    with pytest.raises(SupersededError, match="attempt 1, may write no more"):
        launched(tmp_path, prepared, on_event=at_report(reports, take_over))
    assert [(folder / LEDGER).read_bytes()] == left
    assert not (folder / "control" / "halt").exists()
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)
    numbers = [r.attempt for r in read_records(folder) if isinstance(r, ExperimentRecord | ResumedRecord)]
    assert numbers == [1, 3]


def test_a_launch_that_was_taken_over_before_its_first_trial_leaves_the_folder(
    tmp_path: Path, prepared: Path
) -> None:
    folder = tmp_path / experiment(**PARTS).name

    def prepare(_: Any) -> Path:
        Attempt.claim(folder).end()
        return prepared

    with pytest.raises(SupersededError):
        launch_experiment(experiment(**PARTS), tmp_path, trainable=Scripted, prepare=prepare)
    assert [record.kind for record in read_records(folder)] == ["experiment"]
