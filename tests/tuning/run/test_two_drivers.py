"""Two drivers of one experiment that no lock keeps apart: one trains, the other is refused or stops."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elsewhere import forget_lock, silence
from marks import slow
from scripted import Scripted, essence, experiment

from trainables.errors import LedgerError, SupersededError
from tuning.ledger.attempts import Attempt
from tuning.ledger.ledger import LEDGER, Ledger, read_records
from tuning.ledger.records import ExperimentRecord, Record, ReportRecord, ResumedRecord
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.tables.parquet_parts import valid_parts
from tuning.views.followers import ViewThread

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


def resumed(folder: Path, prepared: Path, **how: Any) -> LaunchResult:
    return resume_experiment(folder, trainable=Scripted, prepare=lambda _: prepared, **how)


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


class HeldViews:
    """The threads of views. Each takes the first records that come, and then none until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._changed = threading.Condition()
        self._held = True
        self._took: Counter[ViewThread] = Counter()
        self._waiting: set[ViewThread] = set()
        take = ViewThread._take

        def taken(thread: ViewThread) -> bool:
            with self._changed:
                self._took[thread] += 1
                if self._took[thread] > 1:
                    self._waiting.add(thread)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: not self._held)
            return take(thread)

        monkeypatch.setattr(ViewThread, "_take", taken)

    def wait(self) -> None:
        """Wait until the tables and the journal are held, and so write nothing."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) == 2)

    def go_on(self) -> None:
        """Let them go on, to their end."""
        with self._changed:
            self._held = False
            self._changed.notify_all()
        for thread in self._waiting:
            thread._thread.join(60)
            assert not thread._thread.is_alive()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of an experiment but the attempts, and what Ray prints."""
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not (name := path.relative_to(folder).as_posix()).startswith(("attempts/", "ray"))
    }


@pytest.mark.parametrize("reports", [slow(1), 7])
def test_a_driver_that_was_taken_over_stops_and_the_other_ends_the_sweep(
    whole: Path, tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, reports: int
) -> None:
    """It leaves every file as it was, though its views have records that they have not shown yet."""
    folder = tmp_path / whole.name
    left: list[dict[str, bytes]] = []
    views = HeldViews(monkeypatch)

    def take_over() -> None:
        views.wait()
        Attempt.claim(folder).end()
        left.append(content(folder))

    with pytest.raises(SupersededError, match="attempt 1, may write no more"):
        launched(tmp_path, prepared, on_event=at_report(reports, take_over))
    views.go_on()
    assert [content(folder)] == left
    assert {"study.journal", LEDGER} < set(left[0])
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)
    assert valid_parts(folder)  # the tables are not held by the first driver any more
    numbers = [r.attempt for r in read_records(folder) if isinstance(r, ExperimentRecord | ResumedRecord)]
    assert numbers == [1, 3]


def test_a_resume_that_takes_over_does_not_ask_whether_the_other_one_lives(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    record = folder / LEDGER
    record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:20]))
    with Ledger.open(folder, take_over=True) as frozen:  # of a copy, so that it does not wait
        silence(folder)
        resumed(folder, prepared, take_over=True)
        with pytest.raises(SupersededError):
            frozen.require_ours()
    assert essence(folder) == essence(whole)


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
