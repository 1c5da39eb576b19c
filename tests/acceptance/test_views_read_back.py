"""Views in the programs that display them: a real optuna-dashboard, a real PostgreSQL."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import recorded
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from ports import free_port
from postgres import PASSWORD, Postgres, postgres
from viewed import of

from trainables.errors import StorageError
from tuning.ledger.ledger import read_records
from tuning.ledger.records import StartedRecord
from tuning.views.followers import Views
from tuning.views.optuna_database import DatabaseStudyStorage, with_driver
from tuning.views.optuna_journal import JOURNAL_FILE, JournalStudyStorage
from tuning.views.optuna_study import StudyStorage, StudyView

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
"""The timeout includes the installation of PostgreSQL."""


def view(target: StudyStorage, name: str = "digits") -> StudyView:
    return StudyView(recorded.experiment(name), target)


# --- optuna-dashboard -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return recorded.write(tmp_path / "digits")


def ask(port: int, path: str) -> Any:
    """The dashboard's answer, once it is up."""
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return json.load(answer)
        except OSError:
            assert time.monotonic() < deadline, f"the dashboard does not answer {path}"
            time.sleep(0.3)


def test_the_journal_opens_in_optuna_dashboard_while_the_sweep_runs(folder: Path) -> None:
    records = list(read_records(folder))
    half = len(records) // 2
    followed = view(JournalStudyStorage(folder))
    followed.begin(of(records[:half]))
    port = free_port()
    command = str(Path(sys.executable).with_name("optuna-dashboard"))
    process = subprocess.Popen(
        [shutil.which(command) or command, str(folder / JOURNAL_FILE), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (study,) = ask(port, "/api/studies")["study_summaries"]
        assert study["study_name"] == "digits"
        before = ask(port, f"/api/studies/{study['study_id']}")["trials"]
        for record in records[half:]:
            followed.observe(record)
        followed.settle()
        deadline = time.monotonic() + 90  # it reads the file every few seconds
        while len(after := ask(port, f"/api/studies/{study['study_id']}")["trials"]) < 7:
            assert time.monotonic() < deadline, f"the dashboard shows {len(after)} trials of 7"
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait()
    followed.close()
    assert 0 < len(before) < len(after) == 7
    assert [trial["state"] for trial in after][:4] == ["Complete", "Pruned", "Complete", "Fail"]
    assert [point["value"] for point in after[0]["intermediate_values"]] == [0.3, 0.5, 0.6, 0.7, 0.75, 0.75]
    assert after[0]["values"] == [0.75]


# --- PostgreSQL -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def trials(server: Postgres, name: str) -> list[optuna.trial.FrozenTrial]:
    storage = RDBStorage(with_driver(server.url))
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:  # a server accepts a hundred connections, and a test may open more
        storage.remove_session()
        storage.engine.dispose()


def test_two_sweeps_follow_into_one_postgresql_and_do_not_mix(server: Postgres, tmp_path: Path) -> None:
    said: list[str] = []
    sweeps = {"digits": recorded.TRIALS, "letters": recorded.TRIALS[:4]}
    records = {
        name: list(read_records(recorded.write(tmp_path / name, told))) for name, told in sweeps.items()
    }
    running = {
        name: Views(
            [view(DatabaseStudyStorage(server.url), name)], of(lines[:1]), say=said.append, closing_s=120
        ).__enter__()
        for name, lines in records.items()
    }
    for number in range(1, max(map(len, records.values()))):
        for name, lines in records.items():
            if number < len(lines):
                running[name].put(lines[number])
    for views in running.values():
        views.__exit__(None, None, None)
    assert said == []
    for name, told in sweeps.items():
        found = trials(server, name)
        assert [trial.user_attrs["trial"] for trial in found] == list(range(len(told)))
        assert [len(trial.intermediate_values) for trial in found] == [len(one.curve) for one in told]
    assert trials(server, "digits")[0].value == 0.75
    assert trials(server, "digits")[1].state is TrialState.PRUNED


def test_a_server_that_goes_away_is_said_once_and_resume_brings_the_rest(
    server: Postgres, tmp_path: Path
) -> None:
    said: list[str] = []
    records = list(read_records(recorded.write(tmp_path / "fragile")))
    first = next(place for place, record in enumerate(records) if isinstance(record, StartedRecord))
    with Views(
        [view(DatabaseStudyStorage(server.url), "fragile")],
        of(records[:first]),
        say=said.append,
        closing_s=60,
    ) as views:
        views.put(records[first])
        deadline = time.monotonic() + 60
        while not (there := _has(server, "fragile")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert there
        server.stop()
        for record in records[first + 1 :]:
            views.put(record)
    assert len(said) == 1
    assert said[0].startswith(f"cannot update the Optuna study at {server.url}: ")
    assert PASSWORD not in said[0]
    server.start()
    again = view(DatabaseStudyStorage(server.url), "fragile")
    again.begin(of(records))
    again.close()
    assert [trial.user_attrs["trial"] for trial in trials(server, "fragile")] == list(range(7))


def _has(server: Postgres, name: str) -> bool:
    try:
        return bool(trials(server, name))
    except KeyError:
        return False


def test_a_study_of_another_launch_stays_as_it_is(server: Postgres, tmp_path: Path) -> None:
    first = list(read_records(recorded.write(tmp_path / "a" / "taken", recorded.TRIALS[:2])))
    second = list(read_records(recorded.write(tmp_path / "b" / "taken", began=9000.0)))
    ours = view(DatabaseStudyStorage(server.url), "taken")
    ours.begin(of(first))
    ours.close()
    with pytest.raises(StorageError, match="a study 'taken' of another launch"):
        view(DatabaseStudyStorage(server.url), "taken").begin(of(second))
    assert len(trials(server, "taken")) == 2


def test_a_wrong_password_is_said_and_not_repeated(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong one")
    said: list[str] = []
    records = list(read_records(recorded.write(tmp_path / "locked")))
    with Views(
        [view(DatabaseStudyStorage(server.url), "locked")], of(records), say=said.append, closing_s=60
    ):
        pass
    assert len(said) == 1
    assert "password authentication failed" in said[0]
    assert "wrong one" not in said[0]
