"""Sweeps that a signal or `stop` ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from marks import slow
from scripted import Scripted, Slow, Sweeps, experiment

from cluster.connect import connect
from trainables.run_folder import CONTROL
from trainables.specs.workload import Workload
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import ClosedRecord, Record, ReportRecord
from tuning.run.launch import launch_experiment

pytestmark = pytest.mark.usefixtures("ray_once")


def stop(folder: Path, name: str) -> None:
    (folder / CONTROL).mkdir(exist_ok=True)
    (folder / CONTROL / name).touch()


@pytest.mark.parametrize("number", [slow(signal.SIGINT), signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_the_handlers_as_they_were(sweep: Sweeps, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def interrupt(record: Record) -> None:
        if isinstance(record, ReportRecord) and record.epoch == 2:
            signal.raise_signal(number)

    result = sweep(Slow, also=interrupt, trial={"epochs": 10_000})
    assert result.outcome is Ending.INTERRUPTED
    assert {t.outcome for t in result.history.trials.values()} == {Outcome.INTERRUPTED}
    assert signal.getsignal(number) is before


class Slower(Scripted):
    pause_s = 0.3


def test_a_trial_and_then_the_sweep_are_stopped_through_the_folder(sweep: Sweeps) -> None:
    folder = sweep.storage / "sweep"

    def control(record: Record) -> None:
        if isinstance(record, ReportRecord) and record.trial == 0 and record.epoch == 1:
            stop(folder, "stop-0")
        if isinstance(record, ReportRecord) and record.trial == 2 and record.epoch == 2:
            stop(folder, "stop")

    result = sweep(
        Slower, also=control, search={"trials": 6}, trial={"epochs": 40}, resources={"concurrent": 2}
    )
    assert result.outcome is Ending.INTERRUPTED
    ended = {n: t.outcome for n, t in result.history.trials.items()}
    assert ended[0] is Outcome.STOPPED
    assert ended[2] is Outcome.INTERRUPTED
    assert result.history.closed is not None
    assert result.history.closed.reason is Ending.INTERRUPTED
    # Its worker may still have to refuse a save; the next driver removes the mark.
    assert [path.name for path in (folder / CONTROL).iterdir()] == ["stopped.0"]


@pytest.mark.parametrize("way", ["stop", "signal"])
def test_a_sweep_that_still_prepares_is_stopped_and_leaves_the_name_free(tmp_path: Path, way: str) -> None:
    waiting, folder = threading.Event(), tmp_path / "sweep"

    def endless(_: Workload) -> Path:
        time.sleep(1.0)
        if way == "stop":
            stop(folder, "stop")
        else:
            os.kill(os.getpid(), signal.SIGINT)
        waiting.wait()  # launch does not wait for it
        return tmp_path

    result = launch_experiment(experiment(), tmp_path, trainable=Scripted, prepare=endless)
    waiting.set()
    assert result.outcome is Ending.INTERRUPTED
    assert result.history.trials == {}
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_ray_starts_ends_the_sweep_and_leaves_the_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it may be ignored, as under `nohup`

    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), number)

    def no_ray(*_: Any, **__: Any) -> Any:
        raise AssertionError("Ray is not started any more")

    monkeypatch.setattr("tuning.run.driver.claim_store_folder", interrupted)
    monkeypatch.setattr("tuning.run.driver.connect", no_ray)
    try:
        result = launch_experiment(experiment(), tmp_path, trainable=Scripted, prepare=lambda _: tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.outcome is Ending.INTERRUPTED
    assert result.signal == number
    assert result.preempted is (number is not signal.SIGINT)
    assert not (tmp_path / "sweep").exists()


def test_ctrl_c_before_the_handlers_are_there_leaves_the_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuning.run.launch.drive_sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch_experiment(experiment(), tmp_path, trainable=Scripted, prepare=lambda _: tmp_path)
    assert not (tmp_path / "sweep").exists()


def test_ctrl_c_while_ray_goes_down_changes_nothing(sweep: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupted_at_its_end(*given: Any, **also: Any) -> Iterator[Any]:
        with connect(*given, **also) as cluster:
            yield cluster
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("tuning.run.driver.connect", interrupted_at_its_end)
    result = sweep(search={"trials": 1}, trial={"epochs": 1})
    assert result.outcome is Ending.FINISHED
    closed = [record for record in read_records(result.folder) if isinstance(record, ClosedRecord)]
    assert [record.reason for record in closed] == [Ending.FINISHED]


# --- a driver in its own process --------------------------------------------------------------

DRIVER = """
import sys
from pathlib import Path
from scripted import Scripted, experiment
from tuning.run.launch import launch_experiment

class Endless(Scripted):
    pause_s = 0.2

def heard(record):
    if record.kind == "report":
        print("report", flush=True)

if __name__ == "__main__":
    given = experiment(trial={"epochs": 10_000})
    to = Path(sys.argv[1])
    result = launch_experiment(given, to, trainable=Endless, prepare=lambda _: to, on_event=heard)
    print(result.outcome, "torch" in sys.modules)
"""


def processes_of(session: int) -> list[str]:
    """Command lines of the living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[3]) == session and after_name[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has just ended
    return found


@pytest.mark.slow
def test_ctrl_c_ends_the_sweep_as_interrupted(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    root = Path(__file__).parents[3]
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "experiments")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'tests' / 'support'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "report\n"
    os.killpg(driver.pid, signal.SIGINT)  # like a terminal: to the whole group
    out, err = driver.communicate(timeout=300)
    assert (out.splitlines()[-1], err, driver.returncode) == ("interrupted False", "", 0)
    history = read_history(tmp_path / "experiments" / "sweep")
    assert history.closed is not None
    assert history.closed.reason is Ending.INTERRUPTED
    assert {t.outcome for t in history.trials.values()} == {Outcome.INTERRUPTED}
    assert any(t.reports for t in history.trials.values())
    until = time.monotonic() + 120
    while (left := processes_of(driver.pid)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []
