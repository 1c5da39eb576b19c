"""The Optuna study as a view: journal and SQLite, brought up to date from any state a driver left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import recorded
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from viewed import live, of

from trainables.errors import StorageError
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord
from tuning.views.optuna_database import DatabaseStudyStorage
from tuning.views.optuna_journal import ASIDE, JOURNAL_FILE, JournalStudyStorage
from tuning.views.optuna_study import StudyStorage, StudyView

Place = Callable[[Path], StudyStorage]
Read = Callable[[Path], BaseStorage]


def journal(folder: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))


def sqlite(folder: Path) -> BaseStorage:
    return RDBStorage(f"sqlite:///{folder / 'studies.db'}")


PLACES: dict[str, tuple[Place, Read]] = {
    "journal": (JournalStudyStorage, journal),
    "sqlite": (lambda folder: DatabaseStudyStorage(f"sqlite:///{folder / 'studies.db'}"), sqlite),
}


@pytest.fixture(params=["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> tuple[Place, Read]:
    return PLACES[request.param]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return recorded.write(tmp_path / "digits")


def view(storage: StudyStorage, name: str = "digits") -> StudyView:
    return StudyView(recorded.experiment(name), storage)


def lines(folder: Path) -> list[Any]:
    """The record, in which a reused trial has its source's value, as in a sweep."""
    return [
        record.model_copy(update={"value": 0.75})
        if isinstance(record, EndedRecord) and record.outcome is Outcome.REUSED
        else record
        for record in read_records(folder)
    ]


def follow(storage: StudyStorage, records: Sequence[Any], known: int = 1) -> None:
    live(view(storage, records[0].name), records, known)


def essence(storage: BaseStorage, name: str = "digits") -> list[Any]:
    study = optuna.load_study(study_name=name, storage=storage)
    return [
        (t.user_attrs, t.state, t.value, t.params, t.intermediate_values)
        for t in study.get_trials(deepcopy=False)
    ]


def test_it_has_every_trial_with_its_curve_state_value_and_reason(
    folder: Path, place: tuple[Place, Read]
) -> None:
    storage, read = place
    follow(storage(folder), lines(folder))
    study = optuna.load_study(study_name="digits", storage=read(folder))
    assert study.direction.name == "MAXIMIZE"
    assert study.metric_names == ["dice"]
    assert study.best_trial.user_attrs["trial"] == 0
    assert study.best_value == 0.75
    trials = {t.user_attrs["trial"]: t for t in study.trials}
    assert [t.number for t in study.trials] == sorted(trials)
    assert {n: t.state for n, t in trials.items()} == {
        0: TrialState.COMPLETE,
        1: TrialState.PRUNED,
        2: TrialState.COMPLETE,
        3: TrialState.FAIL,
        4: TrialState.COMPLETE,
        5: TrialState.PRUNED,
        6: TrialState.COMPLETE,
    }
    assert trials[0].intermediate_values == {
        1000: 0.3, 2000: 0.5, 3000: 0.6, 4000: 0.7, 5000: 0.75, 6000: 0.75,
    }  # fmt: skip
    assert trials[3].user_attrs["reason"] == "the loss is not finite at epoch 2"
    assert trials[6].user_attrs["reuses"] == 0
    assert trials[6].value == 0.75
    assert trials[0].params["learning_rate"] == 0.005
    assert trials[0].params["freezing@adapter=lora|serial_lora"] == "frozen"


def test_from_every_moment_at_which_a_driver_may_die_it_comes_to_the_same(
    folder: Path, tmp_path: Path, place: tuple[Place, Read]
) -> None:
    storage, read = place
    records = lines(folder)
    (tmp_path / "whole").mkdir()
    follow(storage(tmp_path / "whole"), records)
    expected = essence(read(tmp_path / "whole"))
    for cut in (2, 5, 9, 11, 15, 24, len(records)) if storage is JournalStudyStorage else (9, 24):
        again = tmp_path / str(cut)
        again.mkdir()
        follow(storage(again), records[:cut])
        follow(storage(again), records, known=min(cut + 3, len(records)))
        assert essence(read(again)) == expected, cut


def test_running_trials_show_their_reports_at_once(folder: Path, place: tuple[Place, Read]) -> None:
    storage, read = place
    records = lines(folder)
    last = next(i for i, r in enumerate(records) if isinstance(r, ReportRecord) and r.epoch == 3.0)
    followed = view(storage(folder))
    followed.begin(of(records[:1]))
    for record in records[1 : last + 1]:
        followed.observe(record)
    followed.settle()
    (trial,) = optuna.load_study(study_name="digits", storage=read(folder)).trials
    assert trial.state is TrialState.RUNNING
    assert trial.intermediate_values == {1000: 0.3, 2000: 0.5, 3000: 0.6}
    assert trial.user_attrs["outcome"] == "running"
    followed.close()


def test_an_interrupted_trial_stays_open_and_resumes(folder: Path, place: tuple[Place, Read]) -> None:
    storage, read = place
    records = lines(folder)
    end = next(i for i, r in enumerate(records) if isinstance(r, EndedRecord))
    ended = records[end]
    broken = [*records[:end], ended.model_copy(update={"outcome": Outcome.INTERRUPTED})]
    follow(storage(folder), broken)
    (trial,) = optuna.load_study(study_name="digits", storage=read(folder)).trials
    assert (trial.state, trial.user_attrs["outcome"]) == (TrialState.RUNNING, "interrupted")
    started = next(r for r in records if isinstance(r, StartedRecord))
    follow(storage(folder), [*broken, started, ended], known=len(broken))
    (trial,) = optuna.load_study(study_name="digits", storage=read(folder)).trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.75)
    assert trial.user_attrs["outcome"] == "completed"


def test_a_trial_that_failed_and_starts_again_is_one_more(folder: Path, place: tuple[Place, Read]) -> None:
    storage, read = place
    records = lines(folder)
    started = next(r for r in records if isinstance(r, StartedRecord) and r.trial == 3)
    again = [
        started,
        EndedRecord(trial=3, outcome=Outcome.COMPLETED, value=0.5, epoch=1.0),
    ]
    follow(storage(folder), records)
    follow(storage(folder), [*records, *again], known=len(records) + 1)
    attempts = [row for row in essence(read(folder)) if row[0]["trial"] == 3]
    assert [state for _, state, *_ in attempts] == [TrialState.FAIL, TrialState.COMPLETE]
    follow(storage(folder), [*records, *again], known=len(records) + 2)
    assert [row for row in essence(read(folder)) if row[0]["trial"] == 3] == attempts


def test_one_that_starts_again_keeps_the_reports_it_resumes_from(folder: Path) -> None:
    records = lines(folder)
    reports = [r for r in records if isinstance(r, ReportRecord) and r.trial == 0]
    started = next(r for r in records if isinstance(r, StartedRecord) and r.trial == 0)
    failed = EndedRecord(trial=0, outcome=Outcome.FAILED, reason="out of luck")
    given = [records[0], started, *reports[:3], failed, started, *reports[3:]]
    follow(JournalStudyStorage(folder), given)
    steps = [
        trial.intermediate_values
        for trial in optuna.load_study(study_name="digits", storage=journal(folder)).trials
    ]
    assert steps[1] == {round(r.epoch * 1000): r.objective for r in reports}
    assert steps[0] == {round(r.epoch * 1000): r.objective for r in reports[:3]}


def test_a_study_that_contradicts_its_record_is_written_again(
    folder: Path, place: tuple[Place, Read]
) -> None:
    storage, read = place
    records = lines(folder)
    follow(storage(folder), records)
    # The record is older than the study, as after a backup of the folder was restored.
    follow(storage(folder), records[:8], known=8)
    assert len(essence(read(folder))) == 1
    follow(storage(folder), records, known=len(records))
    assert len(essence(read(folder))) == 7


def test_a_deleted_journal_comes_back(folder: Path) -> None:
    records = lines(folder)
    follow(JournalStudyStorage(folder), records)
    expected = essence(journal(folder))
    (folder / JOURNAL_FILE).unlink()
    follow(JournalStudyStorage(folder), records, known=len(records))
    assert essence(journal(folder)) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) * 2 // 3],
        lambda text: text[:-1],
        lambda text: text.replace(b"{", b"\x00", 5),
        lambda text: text[text.index(b"\n") + 1 :],
        lambda text: b'{"op_code": 99, "worker_id": "a"}\n' + text,
        lambda text: b"[]\n" + text,
        lambda text: b"",
    ],
    ids=["torn", "no newline", "zeroes", "headless", "foreign", "no object", "empty"],
)
def test_a_damaged_journal_is_written_anew(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    records = lines(folder)
    follow(JournalStudyStorage(folder), records)
    expected = essence(journal(folder))
    path = folder / JOURNAL_FILE
    path.write_bytes(damage(path.read_bytes()))
    follow(JournalStudyStorage(folder), records, known=len(records) - 2)
    assert essence(journal(folder)) == expected


def test_a_journal_of_another_launch_is_put_aside(folder: Path, tmp_path: Path) -> None:
    other = recorded.write(tmp_path / "other" / "digits", recorded.TRIALS[:2], began=5000.0)
    follow(JournalStudyStorage(folder), lines(other))
    before = (folder / JOURNAL_FILE).read_bytes()
    follow(JournalStudyStorage(folder), lines(folder))
    assert len(essence(journal(folder))) == 7
    assert (folder / ASIDE).read_bytes() == before


@pytest.mark.parametrize("dangling", [False, True])
def test_a_lock_left_behind_is_taken_away(folder: Path, dangling: bool) -> None:
    target = "/nowhere/study.journal" if dangling else str(folder / JOURNAL_FILE)
    lock = folder / (JOURNAL_FILE + ".lock")
    os.symlink(target, lock)
    follow(JournalStudyStorage(folder), lines(folder))
    assert len(essence(journal(folder))) == 7
    assert not os.path.lexists(lock)


def test_notes_that_a_dashboard_leaves_stay(folder: Path) -> None:
    records = lines(folder)
    follow(JournalStudyStorage(folder), records[:9])
    journal(folder).set_study_user_attr(0, "note", "look here")
    follow(JournalStudyStorage(folder), records, known=9)
    assert journal(folder).get_study_user_attrs(0)["note"] == "look here"
    assert len(essence(journal(folder))) == 7


def test_a_journal_costs_one_write_a_lot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = JournalFileBackend.append_logs
    monkeypatch.setattr(
        JournalFileBackend, "append_logs", lambda self, logs: (writes.append(len(logs)), real(self, logs))
    )
    records = lines(folder)
    follow(JournalStudyStorage(folder), records)
    assert len(writes) == 2  # one at the beginning, one in `settle`
    assert sum(writes) > len(records) / 2


def test_a_study_of_another_launch_in_a_database_is_refused_and_kept(folder: Path, tmp_path: Path) -> None:
    storage = DatabaseStudyStorage(f"sqlite:///{folder / 'studies.db'}")
    other = recorded.write(tmp_path / "other" / "digits", recorded.TRIALS[:2], began=5000.0)
    follow(storage, lines(other))
    expected = essence(sqlite(folder))
    with pytest.raises(StorageError, match=r"a study 'digits' of another launch.*optuna delete-study"):
        follow(storage, lines(folder))
    assert essence(sqlite(folder)) == expected


def test_two_experiments_in_one_database_do_not_mix(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{folder / 'studies.db'}"
    other = recorded.write(tmp_path / "letters", recorded.TRIALS[:2])
    first, second = view(DatabaseStudyStorage(url)), view(DatabaseStudyStorage(url), "letters")
    ours, theirs = lines(folder), lines(other)
    first.begin(of(ours[:1]))
    second.begin(of(theirs[:1]))
    for number in range(1, len(ours)):
        first.observe(ours[number])
        if number < len(theirs):
            second.observe(theirs[number])
    first.close()
    second.close()
    assert len(essence(sqlite(folder))) == 7
    assert [row[0]["trial"] for row in essence(sqlite(folder), "letters")] == [0, 1]


def test_choices_that_are_no_scalars_are_written_as_text(tmp_path: Path) -> None:
    space = {"lora.targets": {"choice": [["query"], ["query", "value"]]}, "seed": {"int": [0, 9]}}
    given = recorded.experiment(space=space)
    told = recorded.Told({"lora.targets": ["query", "value"], "seed": 5}, (0.2,))
    folder = recorded.write(tmp_path / "digits", [told], of=given)
    followed = StudyView(given, JournalStudyStorage(folder))
    followed.begin(read_history(folder))
    followed.close()
    (trial,) = optuna.load_study(study_name="digits", storage=journal(folder)).trials
    assert trial.params["lora.targets"] == json.dumps(["query", "value"])
