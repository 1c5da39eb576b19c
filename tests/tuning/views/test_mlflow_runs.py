"""MLflow's store: what users do to it, what a crash leaves of it, and what it does not reach."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import recorded
from networkless import networkless
from tracker_readers import mlflow_client, read_mlflow
from viewed import live

from trainables.errors import StorageError
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, StartedRecord
from tuning.views.mlflow_runs import DATABASE, FOLDER, MlflowView, require_mlflow

pytest.importorskip("mlflow")


def write(folder: Path, records: Sequence[Any], known: int | None = None) -> None:
    view = MlflowView(recorded.experiment(), folder, records[0], sending_s=120.0)
    live(view, records, len(records) if known is None else known)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with its view, of which each test gets a copy."""
    folder = recorded.write(tmp_path_factory.mktemp("mlflow") / "digits", recorded.TRIALS[:3])
    write(folder, list(read_records(folder)))
    return folder


@pytest.fixture
def folder(before: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(before, tmp_path / "digits"))


@pytest.mark.slow
def test_a_deleted_experiment_and_a_deleted_run_come_back(folder: Path) -> None:
    expected = read_mlflow(folder)
    client = mlflow_client(folder / FOLDER / DATABASE)
    experiment = client.get_experiment_by_name("digits").experiment_id
    run = next(r for r in client.search_runs([experiment]) if r.data.tags["adaptertune.trial"] == "1")
    client.delete_run(run.info.run_id)
    client.delete_experiment(experiment)  # its name is taken from now on
    with pytest.raises(Exception, match="already exists"):
        client.create_experiment("digits")
    write(folder, list(read_records(folder)))
    assert read_mlflow(folder) == expected


@pytest.mark.slow
def test_an_interrupted_trial_goes_on_in_its_run(folder: Path) -> None:
    """Repeated points are no new ones, and no deleted run is left behind."""
    expected = read_mlflow(folder)[0]
    shutil.move(folder / FOLDER, folder / "whole")
    records = list(read_records(folder))
    end = next(place for place, record in enumerate(records) if isinstance(record, EndedRecord))
    started = next(record for record in records if isinstance(record, StartedRecord))
    broken = [*records[: end - 2], records[end].model_copy(update={"outcome": Outcome.INTERRUPTED})]
    write(folder, broken, known=1)
    there = read_mlflow(folder)[0]
    assert there.status == "RUNNING"
    assert there.facts["outcome"] == "interrupted"
    assert len(there.curves["dice"]) == 4
    write(folder, [*broken, started, *records[end - 2 : end + 1]], known=len(broken))
    assert read_mlflow(folder) == {0: expected}
    with closing(sqlite3.connect(folder / FOLDER / DATABASE)) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["torn", "schema"])
def test_a_store_that_cannot_be_read_is_moved_aside_and_written_again(folder: Path, harm: str) -> None:
    expected = read_mlflow(folder)
    store = folder / FOLDER / DATABASE
    if harm == "torn":
        whole = store.read_bytes()
        store.write_bytes(whole[: len(whole) // 2])
    else:
        with closing(sqlite3.connect(store)) as database, database:
            database.execute("update alembic_version set version_num = 'of another version'")
    harmed = store.read_bytes()
    (folder / FOLDER / f"creating-{DATABASE}").write_text("left by a process that was killed")
    write(folder, list(read_records(folder)))
    assert read_mlflow(folder) == expected
    assert (folder / FOLDER / f"{DATABASE}.old").read_bytes() == harmed
    assert sorted(path.name for path in (folder / FOLDER).iterdir()) == [
        DATABASE, f"{DATABASE}.old", "whole.txt", "writer.log",
    ]  # fmt: skip


@pytest.mark.slow
def test_it_reaches_no_network_no_server_of_the_user_and_not_the_home_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, log = networkless(tmp_path / "network")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.chdir(tmp_path / "home")
    expected = read_mlflow(folder)
    (folder / FOLDER / "whole.txt").unlink()
    write(folder, list(read_records(folder)))
    assert read_mlflow(folder) == expected
    assert set(log.read_text().splitlines()) == {"began"}
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.slow
def test_a_store_that_cannot_be_written_is_one_line(folder: Path) -> None:
    shutil.rmtree(folder / FOLDER)
    (folder / FOLDER / f"creating-{DATABASE}").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"IsADirectoryError.*creating-mlflow\.db.*see .*writer\.log"):
        write(folder, list(read_records(folder)))


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("mlflow", "alembic"):
        monkeypatch.setattr(
            "tuning.views.mlflow_runs.find_spec", lambda name, gone=missing: None if name == gone else name
        )
        with pytest.raises(StorageError, match=r"pip install 'adaptertune\[mlflow\]'"):
            require_mlflow()
