"""Runs of Weights & Biases: written offline by wandb itself, and read back as its own records."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import recorded
from tracker_readers import wandb_lines
from viewed import live, of

from trainables.errors import StorageError
from tuning.experiment.sections.views import ViewsSpec, WandbMode, WandbSpec
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord
from tuning.views import process_view, wandb_process
from tuning.views.followers import Views
from tuning.views.process_view import LOG
from tuning.views.wandb_runs import FOLDER, WandbView, require_wandb

pytest.importorskip("wandb")

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return recorded.write(tmp_path / "digits", recorded.TRIALS[:4])


def view(folder: Path, records: Sequence[Any], mode: WandbMode = WandbMode.OFFLINE, **how: Any) -> WandbView:
    spec = ViewsSpec(wandb=WandbSpec(project="adapters", mode=mode))
    given = recorded.experiment().model_copy(update={"views": spec})
    return WandbView(given, folder, records[0], **{"sending_s": 60.0} | how)


def follow(folder: Path, records: Sequence[Any], known: int = 1) -> None:
    live(view(folder, records), records, known)


@dataclass
class Run:
    """A run as read from its file."""

    name: str = ""
    group: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None


def read(folder: Path) -> dict[int, Run]:
    """Every run of an offline folder, by trial, with wandb's own protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[int, Run] = {}
    for path in sorted((folder / FOLDER).glob("offline-run-*/*.wandb")):
        run = Run()
        for line in wandb_lines(path):
            record = Record.FromString(line)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run.name, run.group = record.run.display_name, record.run.run_group
                run.project = record.run.project
                run.config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
            elif kind == "history":
                items = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
                run.rows.append(items)
            elif kind == "summary":
                items = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.summary.update}
                run.summary |= items
            elif kind == "exit":
                run.code = record.exit.exit_code
        found[int(run.name.rsplit("-", 1)[1])] = run
    return found


def test_each_trial_is_a_run_of_the_experiments_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    records = list(read_records(folder))
    follow(folder, records)
    runs = read(folder)
    assert sorted(runs) == [0, 1, 2, 3]
    assert {(run.group, run.project) for run in runs.values()} == {("digits", "adapters")}
    assert runs[0].name == "digits-0000"
    assert runs[0].config["learning_rate"] == 0.005
    assert runs[0].config["trial"] == 0
    assert [row["dice"] for row in runs[0].rows] == [0.3, 0.5, 0.6, 0.7, 0.75, 0.72]
    assert [row["_step"] for row in runs[0].rows] == [10, 20, 30, 40, 50, 60]
    assert runs[0].rows[-1]["objective"] == 0.75
    assert runs[0].summary["outcome"] == "completed"
    assert runs[3].summary["reason"] == "the loss is not finite at epoch 2"
    assert [runs[number].code for number in range(4)] == [0, 0, 0, 1]

    # The key is not on the disk.
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_runs_that_are_open_together_are_apart_and_numbers_that_json_lacks_are_text(folder: Path) -> None:
    """wandb's default gives the run of trial 0 to trial 1 while it is open, and makes null of NaN."""
    header = next(iter(read_records(folder)))
    odd = {"a": math.nan, "b": [math.inf, {"c": -math.inf}]}
    records = [
        header,
        *(StartedRecord(trial=number, params=odd | {"d": number}, hash=f"{number}") for number in (0, 1)),
        *(
            ReportRecord(trial=number, epoch=1.0, step=10, objective=0.5, metrics={"dice": number / 4})
            for number in (1, 0)
        ),
        *(EndedRecord(trial=number, outcome=Outcome.COMPLETED, value=0.5) for number in (0, 1)),
    ]
    follow(folder, records)
    runs = read(folder)
    assert [runs[number].config["d"] for number in (0, 1)] == [0, 1]
    assert [[row["dice"] for row in runs[number].rows] for number in (0, 1)] == [[0.0], [0.25]]
    assert runs[1].config["a"] == "NaN"
    assert runs[1].config["b"] == ["Infinity", {"c": "-Infinity"}]


def test_its_process_finds_our_packages_and_nothing_else_of_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder inside `tuning` on its path would replace every other `tables` by ours."""
    given: list[dict[str, str]] = []
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(process_view.subprocess, "Popen", lambda *_, **how: given.append(how["env"]))
    (folder / FOLDER).mkdir()
    view(folder, list(read_records(folder)))._begin_process()
    assert (Path(given[0]["PYTHONPATH"]) / "tuning" / "__init__.py").is_file()


@pytest.mark.slow
def test_what_is_whole_is_not_written_again_and_what_is_deleted_comes_back(folder: Path) -> None:
    records = list(read_records(folder))
    follow(folder, records)
    before = {path.name for path in (folder / FOLDER).glob("offline-run-*")}
    gone = next((folder / FOLDER).glob("offline-run-*-0001"))
    shutil.rmtree(gone)
    (folder / FOLDER / "whole.txt").write_text("0 6\n2 6\n3 1\n")
    follow(folder, records, known=len(records))
    after = {path.name for path in (folder / FOLDER).glob("offline-run-*")}
    assert before - {gone.name} == {name for name in after if not name.endswith("-0001")}
    assert [row["dice"] for row in read(folder)[1].rows] == [0.35, 0.4]


@pytest.mark.slow
def test_an_interrupted_trial_is_written_again_when_it_resumes(folder: Path) -> None:
    records = list(read_records(folder))
    end = next(i for i, r in enumerate(records) if isinstance(r, EndedRecord))
    started = next(r for r in records if isinstance(r, StartedRecord))
    broken = [*records[: end - 2], records[end].model_copy(update={"outcome": Outcome.INTERRUPTED})]
    follow(folder, broken)
    assert len(read(folder)[0].rows) == 4
    follow(folder, [*broken, started, *records[end - 2 : end + 1]], known=len(broken))
    assert len(list((folder / FOLDER).glob("offline-run-*-0000"))) == 1
    assert len(read(folder)[0].rows) == 6
    assert read(folder)[0].code == 0


@pytest.mark.slow
def test_what_wandb_says_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    said: list[str] = []
    records = list(read_records(folder))
    with Views([view(folder, records, WandbMode.AUTO)], of(records), say=said.append, closing_s=60) as views:
        for record in records[1:]:
            views.put(record)
    assert len(said) == 1
    assert said[0].startswith("cannot update Weights & Biases: ")
    assert str(folder / FOLDER / LOG) in said[0]


def test_a_process_that_does_not_end_is_not_waited_for(folder: Path) -> None:
    records = list(read_records(folder))
    followed = view(folder, records, sending_s=0.2)
    followed._process = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, text=True)
    process = followed._process
    with pytest.raises(
        StorageError, match=r"not finished after 0\.2 s and continues for at most.*`wandb sync`"
    ):
        followed.close()
    assert process.poll() is None
    process.terminate()
    process.wait()


def test_online_only_where_one_is_logged_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wandb_process.logged_in()
    assert wandb_process._wandb_mode(WandbMode.AUTO) == "offline"
    (folder.parent / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert wandb_process._wandb_mode(WandbMode.AUTO) == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert wandb_process._wandb_mode(WandbMode.AUTO) == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_process._wandb_mode(WandbMode.AUTO) == "online"
    assert wandb_process._wandb_mode(WandbMode.OFFLINE) == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_process._wandb_mode(WandbMode.AUTO) is None


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.views.wandb_runs.find_spec", lambda name: None)
    with pytest.raises(StorageError, match=r"pip install 'adaptertune\[wandb\]'"):
        require_wandb()
