"""An experiment with checkpoints on an object store, here a `file://` one: claims, sweeps, tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, experiment

from trainables import storage_paths as store
from trainables.errors import DataError, StorageError
from trainables.run_folder import LAST_STATE
from trainables.storage_paths import StorePath
from tuning.checkpoints.store_folder_claim import MARK, claim_store_folder, release_store_folder
from tuning.ledger.history import History
from tuning.ledger.records import ExperimentRecord, Record
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.run.launch import launch_experiment
from tuning.views.mirror import COPY_EVERY_S, MirroredView

ARGUMENTS: dict[str, Any] = {
    "trial": {"epochs": 2},
    "space": {"learning_rate": {"choice": [1e-4, 1e-3, 1e-2]}},
    "search": {"grid": {}},
    "resources": {"concurrent": 1},
}


@pytest.fixture
def to(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


def header(asked: Any, time: float) -> ExperimentRecord:
    return ExperimentRecord(time=time, name=asked.name, file="", experiment={})


# --- claims -----------------------------------------------------------------------------------


def test_checkpoints_are_in_the_experiments_folder_unless_the_file_says_otherwise(
    to: str, tmp_path: Path
) -> None:
    assert checkpoint_root(experiment(), tmp_path / "sweep") == tmp_path / "sweep"
    stored = checkpoint_root(experiment(checkpoints={"to": to}), tmp_path / "elsewhere")
    assert str(trial_folder(stored, 7) / LAST_STATE) == f"{to}/sweep/trials/0007/last.ckpt"


def test_a_folder_on_the_store_belongs_to_one_experiment(to: str, tmp_path: Path) -> None:
    asked = experiment(checkpoints={"to": to})
    claim_store_folder(experiment(), header(asked, 1.0))
    assert not (tmp_path / "store").exists()
    claim_store_folder(asked, header(asked, 1.0))
    claim_store_folder(asked, header(asked, 1.0))
    # The first one has saved nothing yet, but may do so.
    with pytest.raises(StorageError, match=r"to another experiment 'sweep', launched 1970-.*another name"):
        claim_store_folder(asked, header(asked, 2.0))
    release_store_folder(asked, header(asked, 2.0))  # it is not its own
    assert (tmp_path / "store" / "sweep" / MARK).exists()
    release_store_folder(asked, header(asked, 1.0))
    claim_store_folder(asked, header(asked, 2.0))
    (tmp_path / "store" / "sweep" / MARK).write_text("{")
    with pytest.raises(StorageError, match="launched at an unknown time"):
        claim_store_folder(asked, header(asked, 2.0))


def test_a_launch_that_came_to_nothing_leaves_the_name_free_on_the_store_too(to: str, tmp_path: Path) -> None:
    asked = experiment(checkpoints={"to": to}, **ARGUMENTS)

    def no_data(workload: Any) -> Path:
        raise DataError("no data")

    with pytest.raises(DataError):
        launch_experiment(asked, tmp_path, trainable=Scripted, prepare=no_data)
    assert not (tmp_path / "store" / "sweep" / MARK).exists()


def test_a_store_that_cannot_be_written_is_refused_before_work_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked = experiment(checkpoints={"to": f"file://{tmp_path}/file"}, **ARGUMENTS)

    def never(workload: Any) -> Path:
        return pytest.fail("work has started")

    with pytest.raises(StorageError, match=r"file:///.*/sweep/experiment.json: the store refuses"):
        launch_experiment(asked, tmp_path, trainable=Scripted, prepare=never)
    assert not (tmp_path / "sweep").exists()  # the name is free


# --- tables -----------------------------------------------------------------------------------


class Parts:
    """A view that writes a part for each record."""

    title = "the Parquet tables"

    def __init__(self, folder: Path) -> None:
        self.folder, self.closed = folder, False

    def begin(self, history: History) -> None:
        pass

    def observe(self, record: Record) -> None:
        self.write(f"{len(list(self.folder.glob('*')))}", 3)

    def write(self, part: str, size: int) -> None:
        (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / part / "part.json").write_bytes(bytes(1))
        (self.folder / part / "trials.parquet").write_bytes(bytes(size))

    def settle(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_tables_are_copied_as_they_appear_and_those_merged_away_go(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []
    real = StorePath.write_bytes
    monkeypatch.setattr(
        StorePath, "write_bytes", lambda self, *parts: (written.append(self.path), real(self, *parts))[1]
    )
    at = StorePath.of(to) / "sweep" / "tables"
    parts = Parts(tmp_path / "tables")
    view = MirroredView(parts, tmp_path / "tables", at, lambda: now[0])
    record = header(experiment(), 0.0)
    view.begin(History(record))
    view.observe(record)
    view.settle()
    assert at.files() == {}  # not yet: it was checked just now
    now[0] += COPY_EVERY_S
    view.settle()
    assert at.files() == {"0/trials.parquet": 3, "0/part.json": 1}
    view.observe(record)
    shutil.rmtree(tmp_path / "tables" / "0")
    parts.write("0-1", 6)
    parts.write(".writing-2", 6)
    view.close()
    assert parts.closed
    merged = {"0-1/trials.parquet": 6, "0-1/part.json": 1}
    assert at.files() == {"1/trials.parquet": 3, "1/part.json": 1} | merged
    # Each once, and `part.json` after the tables of its part.
    names = [path.partition("/tables/")[2] for path in written]
    assert names == [
        *("0/trials.parquet", "0/part.json"),
        *(
            "0-1/trials.parquet",
            "1/trials.parquet",
            "0-1/part.json",
            "1/part.json",
        ),  # each once, tables first
    ]
    parts.write("1", 4)
    MirroredView(parts, tmp_path / "tables", at).begin(History(record))
    assert at.files() == {"1/trials.parquet": 4, "1/part.json": 1} | merged
    assert [path.partition("/tables/")[2] for path in written[6:]] == ["1/trials.parquet"]


def test_a_store_that_is_gone_costs_the_tables_nothing_and_is_said_once(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    at = StorePath.of(to) / "tables"
    view = MirroredView(Parts(tmp_path / "tables"), tmp_path / "tables", at, lambda: now[0])
    record = header(experiment(), 0.0)

    def gone(system: object, path: str, parts: object) -> None:
        raise OSError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_stream", gone)
        view.begin(History(record))
        view.observe(record)
        for _ in range(3):
            now[0] += COPY_EVERY_S
            view.settle()
    said = capsys.readouterr()
    assert (said.out + said.err).count("cannot be copied now") == 1
    assert "no route to host" in said.out + said.err
    now[0] += COPY_EVERY_S
    view.settle()
    assert at.files() == {"0/trials.parquet": 3, "0/part.json": 1}
