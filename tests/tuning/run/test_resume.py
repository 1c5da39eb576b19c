"""A sweep that was interrupted anywhere and resumed equals the uninterrupted sweep."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from marks import exhaustive, slow
from scripted import Scripted, essence, experiment, prepared_in

from trainables.errors import DataError, LedgerError, StorageError
from trainables.specs.job import Failure, ScoringJob, ScoringResult
from trainables.wording import plural
from tuning.ledger.ledger import LEDGER, Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import EndedRecord, Record, StoppedRecord
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

PARTS: dict[str, Any] = {
    "search": {"trials": 10, "seed": 3, "tpe": {"startup_trials": 3}},
    "scheduler": {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}},
    "resources": {"concurrent": 1},
}


pytestmark = pytest.mark.usefixtures("ray_once")


def launched(storage: Path, prepared: Path, trainable: type[Any] = Scripted, **parts: Any) -> LaunchResult:
    return launch_experiment(
        experiment(**PARTS | parts), storage, trainable=trainable, prepare=lambda _: prepared
    )


def resumed(folder: Path, prepared: Path, trainable: type[Any] = Scripted, **asked: Any) -> LaunchResult:
    return resume_experiment(folder, trainable=trainable, prepare=lambda _: prepared, **asked)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of an uninterrupted sweep."""
    return launched(tmp_path_factory.mktemp("whole"), prepared).folder


def cut(whole: Path, storage: Path, lines: int, torn: str = "") -> Path:
    """A copy of the experiment as a driver that died after so many records would leave it."""
    folder = storage / whole.name
    folder.mkdir(parents=True)
    kept = (whole / LEDGER).read_bytes().split(b"\n")[:lines]
    (folder / LEDGER).write_bytes(b"\n".join(kept) + b"\n" + torn.encode())
    return folder


def test_the_sweep_under_test_stops_some_trials(whole: Path) -> None:
    outcomes = [trial.outcome for trial in read_history(whole).trials.values()]
    assert {Outcome.COMPLETED, Outcome.PRUNED} <= set(outcomes)
    assert len(outcomes) == 10


@pytest.mark.parametrize("share", [0.1, 0.55, *map(slow, (0.02, 0.97)), *map(exhaustive, (0.4, 0.85))])
def test_cut_off_anywhere_it_ends_as_if_nothing_had_happened(
    whole: Path, tmp_path: Path, prepared: Path, share: float
) -> None:
    lines = len((whole / LEDGER).read_bytes().split(b"\n"))
    folder = cut(whole, tmp_path, max(1, round(share * (lines - 2))), torn='{"kind": "repo')
    result = resumed(folder, prepared)
    assert result.outcome is Ending.FINISHED
    assert essence(folder) == essence(whole)


@pytest.mark.parametrize("kind", [StoppedRecord, EndedRecord])
def test_a_decision_that_was_made_or_due_is_carried_out(
    whole: Path, tmp_path: Path, prepared: Path, kind: type[Record]
) -> None:
    """Cut right before the first record of a decision, and right after it."""
    records = list(read_records(whole))
    first = next(
        i
        for i, r in enumerate(records)
        if isinstance(r, kind) and read_history(whole).trials[r.trial].stopped
    )
    for name, lines in (("before", first), ("after", first + 1)):
        folder = cut(whole, tmp_path / name, lines)
        resumed(folder, prepared)
        assert essence(folder) == essence(whole)


@pytest.mark.exhaustive
def test_it_may_be_cut_off_again_and_again(whole: Path, tmp_path: Path, prepared: Path) -> None:
    folder = cut(whole, tmp_path / "0", 12)
    for again in range(1, 4):
        resumed(folder, prepared)
        folder = cut(folder, tmp_path / str(again), 12 + 25 * again)
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)


def test_more_trials_extend_a_finished_sweep_as_if_asked_for_at_once(
    tmp_path: Path, prepared: Path, whole: Path
) -> None:
    short = launched(tmp_path, prepared, search=PARTS["search"] | {"trials": 4}).folder
    with pytest.raises(StorageError, match=r"is finished, with 4 trials; .*--trials N"):
        resumed(short, prepared, trials=4)
    with pytest.raises(StorageError, match="the total number of trials must be at least that, got 3"):
        resumed(short, prepared, trials=3)
    resumed(short, prepared, trials=10)
    assert essence(short) == essence(whole)
    assert read_history(short).header.experiment["search"]["trials"] == 10  # type: ignore[call-overload,index]
    with pytest.raises(StorageError, match="is finished, with 10 trials"):
        resumed(short, prepared, retry_failed=True)


def test_a_finished_sweep_gets_its_views_back_and_nothing_else(
    whole: Path, tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "tables")
    (folder / "study.journal").unlink()
    before = (folder / LEDGER).read_bytes()
    result = resumed(folder, prepared)
    assert (result.outcome, len(result.history.trials)) == (Ending.FINISHED, 10)
    assert (folder / LEDGER).read_bytes() == before
    assert len(list((folder / "tables").glob("*/trials.parquet"))) == 1
    assert (folder / "study.journal").is_file()
    said = capsys.readouterr().err
    assert "views are up to date" in said
    assert "is finished, with 10 trials; `adaptertune resume" in said

    shutil.rmtree(folder / "tables")
    (folder / "tables").touch()
    with pytest.raises(StorageError, match="not all views are up to date; the Parquet tables: "):
        resumed(folder, prepared)


def cannot_score(job: ScoringJob) -> ScoringResult:
    return ScoringResult(reason="its worker process died")


def can_score(job: ScoringJob) -> ScoringResult:
    return ScoringResult(metrics={"map": 0.5})


def test_scores_that_failed_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.json").write_text('{"fingerprint": "f", "counts": {"train": 4, "test": 2}}')
    given: dict[str, Any] = {"trainable": Scripted, "prepare": lambda _: tmp_path / "data"}
    asked = experiment(**PARTS | {"search": {"trials": 2}}, scoring={"finalists": 1})
    folder = launch_experiment(asked, tmp_path, scorer=cannot_score, **given).folder
    # The trial, and the pretrained baseline.
    assert [s.reason for s in read_history(folder).scores.values()] == ["its worker process died"] * 2
    history = resume_experiment(folder, scorer=can_score, **given).history
    assert [score.metrics for score in history.scores.values()] == [{"map": 0.5}] * 2
    assert len(history.trials) == 2


class FailsOnce(Scripted):
    """Trials of LoHa fail, unless a file says that they did before."""

    def failure(self, epoch: float) -> Failure | None:
        mark = self.job.experiment / f"failed-{self.job.trial}"
        if self.trial.adapter != "loha" or mark.exists() or epoch < 2:
            return None
        mark.touch()
        return Failure(reason="out of luck")


def test_failed_trials_start_once_more_when_asked(
    tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = launched(tmp_path, prepared, FailsOnce, scheduler={})
    failed = [n for n, t in first.history.trials.items() if t.outcome is Outcome.FAILED]
    assert failed
    resumed(first.folder, prepared, FailsOnce)
    assert f"(retry_failed=True) starts its {plural(len(failed), 'failed trial')}" in capsys.readouterr().err
    again = resumed(first.folder, prepared, FailsOnce, retry_failed=True)
    assert {t.outcome for t in again.history.trials.values()} == {Outcome.COMPLETED}
    assert len(again.history.trials) == 10


def test_a_second_driver_is_refused_and_a_dead_one_holds_no_lock(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    folder = cut(whole, tmp_path, 20)
    with Ledger.open(folder), pytest.raises(LedgerError, match="another driver is running"):
        resumed(folder, prepared)
    resumed(folder, prepared)
    assert (folder / "driver.lock").exists()


def test_other_data_than_before_is_refused(whole: Path, tmp_path: Path) -> None:
    other = prepared_in(tmp_path / "other", fingerprint="ba4")
    folder = cut(whole, tmp_path, 20)
    before = (folder / LEDGER).read_bytes()
    with pytest.raises(DataError, match=r"launched with other data \(fingerprint f00, now ba4\)"):
        resumed(folder, other)
    assert (folder / LEDGER).read_bytes() == before


def test_a_moved_experiment_goes_on_where_it_is(whole: Path, tmp_path: Path, prepared: Path) -> None:
    folder = cut(whole, tmp_path / "here", 30)
    moved = tmp_path / "there" / "renamed"
    moved.parent.mkdir()
    folder.rename(moved)
    assert resumed(moved, prepared).folder == moved
    assert essence(moved) == essence(whole)
    assert not folder.exists()


def test_who_shows_the_sweep_is_told_all_that_was_recorded_before(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    folder = cut(whole, tmp_path, 30)
    before, told, events = list(read_records(folder)), [], []
    resumed(folder, prepared, on_past=told.append, on_event=events.append)
    assert told == before
    assert [*told, *events] == list(read_records(folder))
