"""Trackio's store: read by its own command, written again after a crash, and what it does not reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import recorded
from networkless import networkless
from tracker_readers import read_trackio
from viewed import live

from trainables.errors import StorageError
from tuning.ledger.ledger import read_records
from tuning.views.trackio_runs import FOLDER, TrackioView, require_trackio

pytest.importorskip("trackio")


def write(folder: Path, records: Sequence[Any], name: str = "digits") -> None:
    live(TrackioView(recorded.experiment(name), folder, records[0], sending_s=60.0), records, len(records))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return recorded.write(tmp_path / "digits", recorded.TRIALS[:3])


@pytest.mark.slow
def test_its_own_command_shows_the_runs_without_an_account(folder: Path, tmp_path: Path) -> None:
    write(folder, list(read_records(folder)))
    environment = os.environ | {"TRACKIO_DIR": str(folder / FOLDER), "HOME": str(tmp_path / "home")}
    ask = [
        sys.executable,
        "-m",
        "trackio.cli",
        "get",
        "metric",
        "--project",
        "digits",
        "--run",
        "digits-0001",
    ]
    done = subprocess.run(
        [*ask, "--metric", "dice", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    assert [point["value"] for point in json.loads(done.stdout)["values"]] == [0.35, 0.4]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["torn", "text"])
def test_a_store_that_cannot_be_read_is_moved_aside_and_written_again(folder: Path, harm: str) -> None:
    records = list(read_records(folder))
    write(folder, records)
    expected = read_trackio(folder)
    store = folder / FOLDER / "digits.db"
    whole = store.read_bytes()
    harmed = whole[: len(whole) // 2] if harm == "torn" else b"no database " * 1000
    store.write_bytes(harmed)
    write(folder, records)
    assert read_trackio(folder) == expected
    assert (folder / FOLDER / "digits.db.old").read_bytes() == harmed


@pytest.mark.slow
def test_it_reaches_no_network_no_store_of_the_user_and_not_the_home_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, log = networkless(tmp_path / "network")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "home" / "mine"))
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    monkeypatch.setenv("TRACKIO_BUCKET_ID", "somebody/bucket")
    monkeypatch.setenv("TRACKIO_DATASET_ID", "somebody/set")
    monkeypatch.setenv("SPACE_REPO_NAME", "space")
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.chdir(tmp_path / "home")
    write(folder, list(read_records(folder)))
    assert sorted(read_trackio(folder)) == [0, 1, 2]
    assert log.read_text().splitlines() == ["began"]
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.slow
def test_the_name_of_an_experiment_comes_back_from_its_project(tmp_path: Path) -> None:
    folder = recorded.write(tmp_path / "digits", recorded.TRIALS[:1])
    write(folder, list(read_records(folder)), name="team/a")
    assert sorted(read_trackio(folder, "team/a")) == [0]


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.views.trackio_runs.find_spec", lambda name: None)
    with pytest.raises(StorageError, match=r"pip install 'adaptertune\[trackio\]'"):
        require_trackio()
