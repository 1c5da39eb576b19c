"""Every view for an experiment tracker shows the record, value by value, whatever happens to it.

The trackers' own libraries write in a process of their own, and read back what they wrote.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import odd_records
import pytest
import recorded
import tracker_readers as readers
from viewed import live, of

from trainables.errors import StorageError
from tuning.experiment.sections.views import ViewsSpec, WandbMode, WandbSpec
from tuning.ledger.ledger import read_history, read_records
from tuning.views.mlflow_runs import MlflowView
from tuning.views.process_view import ProcessView
from tuning.views.tensorboard import TensorBoardView
from tuning.views.trackio_runs import TrackioView
from tuning.views.view import View
from tuning.views.wandb_runs import WandbView


@dataclass(frozen=True)
class Tracker:
    """A view and what reads it."""

    name: str
    view: Callable[[Path, Any], View]
    read: Callable[[Path], dict[int, readers.Shown]]


def _process(kind: Callable[..., ProcessView]) -> Callable[[Path, Any], View]:
    given = recorded.experiment().model_copy(
        update={"views": ViewsSpec(wandb=WandbSpec(project="adapters", mode=WandbMode.OFFLINE))}
    )
    return lambda folder, header: kind(given, folder, header, sending_s=120.0)


TRACKERS = {
    "mlflow": Tracker("mlflow", _process(MlflowView), readers.read_mlflow),
    "trackio": Tracker("trackio", _process(TrackioView), readers.read_trackio),
    "wandb": Tracker("wandb", _process(WandbView), readers.read_wandb),
    "tensorboard": Tracker("tensorboard", lambda f, _: TensorBoardView(f), readers.read_tensorboard),
}
WITH_PROCESS = [tracker for tracker in TRACKERS.values() if tracker.name != "tensorboard"]
named = pytest.mark.parametrize("tracker", TRACKERS.values(), ids=TRACKERS)
with_process = pytest.mark.parametrize("tracker", WITH_PROCESS, ids=[t.name for t in WITH_PROCESS])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "odd folder?#%41" / "digits"


def check(tracker: Tracker, folder: Path) -> None:
    """The view has the runs, parameters and points of the record, no fewer and no more."""
    shown, expected = tracker.read(folder), readers.recorded(read_history(folder))
    assert sorted(shown) == sorted(expected)
    history = read_history(folder)
    for number, run in expected.items():
        there = shown[number]
        if tracker.name == "tensorboard":
            assert sorted(there.curves) == sorted(run.curves)
            for name, points in run.curves.items():
                kept = [(step, readers.as_float32(value), when) for step, value, when in points]
                assert there.curves[name] == kept, name
            continue
        assert there.params == run.params
        assert {name: repr(value) for name, value in there.params.items()} == {
            name: repr(value) for name, value in run.params.items()
        }
        assert there.values == run.values
        if tracker.name != "wandb":  # which has times of its own
            assert there.curves == run.curves
        if history.trials[number].over:
            assert there.facts == run.facts
        if tracker.name == "mlflow":
            assert there.status == readers.STATUS[history.trials[number].outcome]


def written(tracker: Tracker, folder: Path, records: Sequence[Any], known: int = 1) -> None:
    pytest.importorskip(tracker.name)
    live(tracker.view(folder, records[0]), records, known)


def follow(view: View, records: Sequence[Any]) -> None:
    for record in records:
        view.observe(record)
        view.settle()


@named
def test_it_shows_the_record_value_by_value(tracker: Tracker, folder: Path, home: Path) -> None:
    written(tracker, folder, odd_records.odd_sweep(folder))
    check(tracker, folder)
    assert not list(home.rglob("*"))


@pytest.mark.slow
@named
def test_written_twice_and_after_its_deletion_it_is_the_same(tracker: Tracker, folder: Path) -> None:
    odd_records.odd_sweep(folder)
    records = list(read_records(folder))
    written(tracker, folder, records, known=len(records))
    check(tracker, folder)
    written(tracker, folder, records, known=len(records))
    check(tracker, folder)
    shutil.rmtree(folder / tracker.name)
    written(tracker, folder, records, known=len(records))
    check(tracker, folder)


@pytest.mark.slow
@with_process
def test_after_a_hard_kill_of_its_process_it_is_the_same(tracker: Tracker, folder: Path) -> None:
    pytest.importorskip(tracker.name)
    records = odd_records.odd_sweep(folder)
    view = tracker.view(folder, records[0])
    assert isinstance(view, ProcessView)
    view.begin(of(records[:1]))
    for record in records[1:-4]:
        view.observe(record)
    view.settle()
    assert view._process is not None
    marks = folder / tracker.name / "whole.txt"
    deadline = time.monotonic() + 120
    while not marks.is_file() or not marks.read_text():  # it has come to the middle
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(view._process.pid, signal.SIGKILL)
    view._process.wait()
    with pytest.raises(StorageError, match=r"writer\.log"):
        follow(view, records[-4:])
    with pytest.raises(StorageError):
        view.close()
    again = list(read_records(folder))
    written(tracker, folder, again, known=len(again))
    check(tracker, folder)
