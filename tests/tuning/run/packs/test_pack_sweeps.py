"""Sweeps in packs on Ray: one that was cut off anywhere and resumed equals the uninterrupted one."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from marks import slow
from scripted import Scripted, essence, experiment
from scripted_pack import Decides, ScriptedPack, SlowPack, WithMoreMemory

from cluster.usable_cpus import count_usable_cpus
from tests.tuning.run.test_resume import cut
from trainables.run_folder import CONTROL
from tuning.ledger.ledger import LEDGER, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import PackingRecord, Record, ReportRecord, StartedRecord
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.run.sent_code import send_along

PARTS: dict[str, Any] = {
    "search": {"trials": 12, "seed": 3, "tpe": {"startup_trials": 3}},
    "scheduler": {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}},
    "resources": {"packing": 3, "concurrent": 3, "cpus": float(count_usable_cpus())},
}
"""A single pack, so that all events have a defined order."""


@pytest.fixture(scope="module", autouse=True)
def _sent(ray_once: None) -> None:
    send_along("scripted")


def launched(
    storage: Path, prepared: Path, pack: type[Any] = ScriptedPack, *, also: Any = None, **parts: Any
) -> LaunchResult:
    return launch_experiment(
        experiment(**PARTS | parts), storage, trainable=pack, prepare=lambda _: prepared, on_event=also
    )


def resumed(folder: Path, prepared: Path, pack: type[Any] = ScriptedPack) -> LaunchResult:
    return resume_experiment(folder, trainable=pack, prepare=lambda _: prepared)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of an uninterrupted sweep."""
    return launched(tmp_path_factory.mktemp("whole"), prepared).folder


def test_a_sweep_in_packs_runs_to_its_end(
    tmp_path: Path, prepared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two workers where the machine has two cores; the search learns, so a quarter runs at once."""
    result = launched(tmp_path, prepared, resources={"packing": "auto"}, search={"trials": 24})
    out, err = capfd.readouterr()
    assert out + err == ""
    assert result.outcome is Ending.FINISHED
    counts = Counter(trial.outcome for trial in result.history.trials.values())
    assert set(counts) == {Outcome.COMPLETED, Outcome.PRUNED}
    assert sum(counts.values()) == 24
    assert read_history(result.folder) == result.history
    expected = {
        "ledger.jsonl",
        "driver.lock",
        "ray.log",
        "attempts",
        "starts",
        CONTROL,
        "tables",
        "study.journal",
    }
    assert {path.name for path in result.folder.iterdir()} <= expected
    assert list((result.folder / CONTROL).iterdir()) == []


def test_the_sweep_under_test_stops_some_trials(whole: Path) -> None:
    trials = read_history(whole).trials
    assert {trial.outcome for trial in trials.values()} == {Outcome.COMPLETED, Outcome.PRUNED}
    assert len(trials) == 12


def cut_at(whole: Path, folder: Path, share: float) -> Path:
    """The experiment of a driver that died in the middle of a line, after this share of the record."""
    lines = len((whole / LEDGER).read_bytes().split(b"\n"))
    return cut(whole, folder, max(1, round(share * (lines - 2))), torn='{"kind": "repo')


@pytest.mark.parametrize("share", [0.1, 0.55, 0.97])
def test_cut_off_anywhere_it_ends_as_if_nothing_had_happened(
    whole: Path, tmp_path: Path, prepared: Path, share: float
) -> None:
    folder = cut_at(whole, tmp_path, share)
    assert resumed(folder, prepared).outcome is Ending.FINISHED
    assert essence(folder) == essence(whole)


AUTO: dict[str, Any] = {"resources": PARTS["resources"] | {"packing": "auto"}}


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of an uninterrupted sweep whose worker decides how many trials it takes."""
    return launched(tmp_path_factory.mktemp("automatic"), prepared, Decides, **AUTO).folder


@pytest.mark.slow
def test_the_number_that_a_worker_decides_matters_to_a_search_that_learns(
    automatic: Path, tmp_path: Path, prepared: Path
) -> None:
    assert essence(launched(tmp_path, prepared, WithMoreMemory, **AUTO).folder) != essence(automatic)


@pytest.mark.parametrize("share", [slow(0.1), 0.55, slow(0.97)])
def test_resumed_where_more_trials_fit_it_ends_as_if_nothing_had_happened(
    automatic: Path, tmp_path: Path, prepared: Path, share: float
) -> None:
    folder = cut_at(automatic, tmp_path, share)
    assert resumed(folder, prepared, WithMoreMemory).outcome is Ending.FINISHED
    assert essence(folder) == essence(automatic)
    (record,) = [r for r in read_records(folder) if isinstance(r, PackingRecord)]
    assert record.lanes == Decides.lanes


class Dying(Scripted):
    """Its process dies in its second report, unless a file says that it did before."""

    def step(self) -> dict[str, Any]:
        note = self.job.experiment / "died"
        if self.reports == 1 and not note.exists():
            note.touch()
            os._exit(1)
        return super().step()


class DyingPack(ScriptedPack):
    trial_class = Dying


@pytest.mark.slow
def test_a_pack_whose_worker_dies_runs_again_without_retries(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    events: list[Record] = []
    result = launched(tmp_path, prepared, DyingPack, also=events.append)
    assert (result.folder / "died").exists()
    assert sum(isinstance(e, StartedRecord) for e in events) == 12 + 3
    assert essence(result.folder) == essence(whole)


class Culprit(Scripted):
    """Trial 1 kills its process whenever it runs."""

    def step(self) -> dict[str, Any]:
        if self.job.trial == 1:
            os._exit(1)
        return super().step()


class CulpritPack(ScriptedPack):
    trial_class = Culprit


@pytest.mark.slow
def test_the_trial_at_fault_fails_with_the_reason_and_its_partners_do_not(
    tmp_path: Path, prepared: Path
) -> None:
    few: dict[str, Any] = {"search": {"trials": 5}, "scheduler": {}, "trial": {"epochs": 2}}
    result = launched(tmp_path, prepared, CulpritPack, **few)
    outcomes = {number: trial.outcome for number, trial in result.history.trials.items()}
    assert outcomes == {n: Outcome.FAILED if n == 1 else Outcome.COMPLETED for n in range(5)}
    ended = result.history.trials[1].ended
    assert ended is not None
    assert "worker process died" in str(ended.reason)


def test_a_stopped_trial_leaves_its_pack_which_goes_on(tmp_path: Path, prepared: Path) -> None:
    asked = []

    def stop(record: Record) -> None:
        if isinstance(record, ReportRecord) and record.trial == 1 and not asked:
            asked.append(record.epoch)
            (tmp_path / "sweep" / CONTROL / "stop-1").touch()

    result = launched(
        tmp_path, prepared, SlowPack, also=stop, search={"trials": 4}, scheduler={}, trial={"epochs": 25}
    )
    outcomes = Counter(trial.outcome for trial in result.history.trials.values())
    assert outcomes == {Outcome.STOPPED: 1, Outcome.COMPLETED: 3}
    assert result.history.trials[1].outcome is Outcome.STOPPED
    ends = [r.trial for r in read_records(result.folder) if isinstance(r, ReportRecord)]
    assert ends.count(1) < 25


@pytest.mark.slow
def test_ctrl_c_ends_the_sweep_as_interrupted_and_it_resumes(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    def interrupt(record: Record) -> None:
        if isinstance(record, ReportRecord) and record.epoch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = launched(tmp_path, prepared, SlowPack, also=interrupt)
    assert result.outcome is Ending.INTERRUPTED
    assert Outcome.INTERRUPTED in {trial.outcome for trial in result.history.trials.values()}
    resumed(result.folder, prepared)
    assert essence(result.folder) == essence(whole)
