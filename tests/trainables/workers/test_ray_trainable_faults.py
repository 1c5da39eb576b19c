"""A checkpoint that is damaged, missing or cannot be written. See docs/explanation/reliability.md."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_disk import SmallDisk, small_disk

from tests.trainables.conftest import actor_of, report_values, swap, trial_job
from trainables.errors import StorageError
from trainables.specs.job import TrialJob
from trainables.specs.report import Report
from trainables.storage_paths import StorePath
from trainables.training.checkpoint import read_weights
from trainables.workers.ray_trainable import AdapterTrainable

LORA = '{"adapter": "lora", "epochs": 4, "batch_size": 8, "learning_rate": 0.01}'


def given(experiment: Path, *, trial: int = 0, **fields: Any) -> TrialJob:
    return trial_job(experiment, LORA, trial, **fields)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> AdapterTrainable:
    """A worker that all tests here reuse; each test starts its own trial."""
    return actor_of(given(tmp_path_factory.mktemp("first")))


def finish(actor: AdapterTrainable) -> list[dict[str, Any]]:
    results = [actor.step()]
    while not results[-1]["done"]:
        results.append(actor.step())
    return results


def curve(results: list[dict[str, Any]]) -> Any:
    assert [result["failure"] for result in results] == [None] * len(results)
    return report_values([Report.model_validate(result["report"]) for result in results])


@pytest.fixture(scope="module")
def whole(one: AdapterTrainable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The curve of an uninterrupted trial, and its best weights."""
    experiment = tmp_path_factory.mktemp("whole")
    swap(one, given(experiment))
    found = curve(finish(one))
    assert [epoch for epoch, *_ in found] == [1.0, 2.0, 3.0, 4.0]
    return found, experiment / "trials" / "0000" / "best.ckpt"


def folder_of(experiment: Path, trial: int = 0) -> Path:
    return experiment / "trials" / f"{trial:04d}"


def log_of(experiment: Path, trial: int = 0) -> str:
    return (folder_of(experiment, trial) / "log.txt").read_text()


def assert_same_weights(first: Path, second: Path) -> None:
    one, two = read_weights(first).tensors, read_weights(second).tensors
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


# --- a checkpoint that cannot be read ---------------------------------------------------------


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_short, changed])
def test_a_damaged_checkpoint_starts_the_trial_over_and_the_log_says_so(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    swap(one, given(tmp_path))
    one.step()
    one.step()
    damage(folder_of(tmp_path) / "last.ckpt")
    swap(one, given(tmp_path))
    assert curve(finish(one)) == whole[0]
    assert "starting over: " in log_of(tmp_path)
    assert "last.ckpt: the checkpoint is damaged" in log_of(tmp_path)
    assert_same_weights(folder_of(tmp_path) / "best.ckpt", whole[1])


def test_a_trial_whose_folder_was_deleted_starts_over(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path
) -> None:
    swap(one, given(tmp_path))
    one.step()
    one.step()
    shutil.rmtree(folder_of(tmp_path))
    swap(one, given(tmp_path))
    assert curve(finish(one)) == whole[0]
    assert_same_weights(folder_of(tmp_path) / "best.ckpt", whole[1])


def test_a_folder_deleted_under_a_running_trial_comes_back(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path
) -> None:
    swap(one, given(tmp_path))
    results = [one.step(), one.step()]
    shutil.rmtree(folder_of(tmp_path))
    results.append(one.step())
    swap(one, given(tmp_path))
    again = finish(one)
    assert again[0]["report"] == results[2]["report"]  # sent again, from the checkpoint
    assert curve([*results[:2], *again]) == whole[0]


# --- a checkpoint that cannot be written ------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_kb=8192) as mounted:
        yield mounted


def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint_costs_no_training(
    one: AdapterTrainable, whole: tuple[Any, Path], disk: SmallDisk
) -> None:
    swap(one, given(disk.path))
    last = folder_of(disk.path) / "last.ckpt"
    results = [one.step()]
    before = last.read_bytes()
    disk.fill(leave=len(before) // 3)
    results += [one.step(), one.step()]
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*.part"))
    assert [bool(r["unsaved"]) for r in results] == [False, True, False]  # reported once
    assert results[1]["unsaved"].endswith("the disk is full; the previous one is kept")
    disk.free_space()
    results.append(one.step())
    assert results[-1]["unsaved"] is None
    assert curve(results) == whole[0]
    assert last.read_bytes() != before
    assert_same_weights(last.with_name("best.ckpt"), whole[1])
    assert "saved again" in log_of(disk.path)


def test_a_worker_that_dies_on_a_full_disk_goes_on_from_the_checkpoint_before(
    one: AdapterTrainable, whole: tuple[Any, Path], disk: SmallDisk
) -> None:
    swap(one, given(disk.path))
    first = one.step()
    disk.fill()
    lost = [one.step(), one.step()]
    assert lost[0]["unsaved"]
    one.running._best = None  # as left by a process that dies
    disk.free_space()
    swap(one, given(disk.path))
    again = finish(one)
    assert again[0]["report"] == first["report"]
    assert curve(again) == whole[0]
    assert_same_weights(folder_of(disk.path) / "best.ckpt", whole[1])


def test_a_trial_that_begins_on_a_full_disk_trains_and_is_saved_once_there_is_room(
    one: AdapterTrainable, whole: tuple[Any, Path], disk: SmallDisk
) -> None:
    disk.fill()
    swap(one, given(disk.path))
    results = [one.step()]
    assert "cannot write the checkpoint" in results[0]["unsaved"]
    disk.free_space()
    results += finish(one)
    assert curve(results) == whole[0]
    assert_same_weights(folder_of(disk.path) / "best.ckpt", whole[1])


def test_a_read_only_disk_costs_no_training_either(
    one: AdapterTrainable, whole: tuple[Any, Path], disk: SmallDisk
) -> None:
    swap(one, given(disk.path))
    results = [one.step()]
    disk.read_only()
    results += [one.step(), one.step()]
    assert "Read-only file system" in results[1]["unsaved"]
    disk.read_only(False)
    results.append(one.step())
    assert curve(results) == whole[0]


def test_best_weights_that_never_found_room_are_not_taken_from_an_earlier_report(
    one: AdapterTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(one, given(tmp_path))
    one.step()
    best = folder_of(tmp_path) / "best.ckpt"
    assert best.exists()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("trainables.training.checkpoint.os.replace", full)
        results = finish(one)
        assert results[-1]["failure"] is None
        assert results[-1]["report"]["objective"] > 0
        swap(one, given(tmp_path, trial=1))
    assert not best.exists()
    assert "its best weights are not kept" in log_of(tmp_path)
    finish(one)
    assert (folder_of(tmp_path, 1) / "best.ckpt").exists()


def test_what_a_killed_worker_left_half_written_goes(one: AdapterTrainable, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir(parents=True)
    for name in (".last.ckpt.123.part", ".best.ckpt.123.part"):
        (folder / name).write_bytes(b"half")
    swap(one, given(tmp_path))
    finish(one)
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "best.ckpt", "log.txt"}


# --- checkpoints on a store -------------------------------------------------------------------


def on_a_store(tmp_path: Path, **fields: Any) -> tuple[TrialJob, Path]:
    """The setting of the worker, and the resulting location of the trial's checkpoints."""
    there = tmp_path / "store" / "sweep" / "trials" / "0000"
    return given(tmp_path / "sweep", checkpoints=f"file://{there}", **fields), there


def refused(self: StorePath, *parts: bytes, **how: Any) -> None:
    raise StorageError(f"{self}: the store refuses, or does not answer: no route to host")


def test_a_trial_goes_on_from_a_store_in_the_middle_of_an_epoch(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path
) -> None:
    asked, there = on_a_store(tmp_path, save_every_s=0.0, save_every_epochs=None)
    swap(one, asked)
    first = one.step()
    assert one.running.state is not None
    assert list(one.engines.of(asked).advance([one.running.state], steps=1)) == []
    one.running.saving_s = 0.0  # otherwise the second save would be delayed
    one.running.between_steps()
    swap(one, asked)
    assert one.running.state.step == first["report"]["step"] + 1
    assert curve([first, *finish(one)]) == whole[0]
    assert sorted(path.name for path in there.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert_same_weights(there / "best.ckpt", whole[1])
    assert [path.name for path in folder_of(tmp_path / "sweep").iterdir()] == ["log.txt"]


def test_a_damaged_checkpoint_on_a_store_starts_the_trial_over(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path
) -> None:
    asked, there = on_a_store(tmp_path)
    swap(one, asked)
    one.step()
    cut_short(there / "last.ckpt")
    swap(one, asked)
    assert curve(finish(one)) == whole[0]
    assert "last.ckpt: the checkpoint is damaged" in log_of(tmp_path / "sweep")


def test_a_store_that_is_silent_for_a_while_costs_a_trial_nothing(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, there = on_a_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(StorePath, "write_bytes", refused)
        patch.setattr(StorePath, "exists", refused)
        swap(one, asked)  # a new trial's checkpoint is not searched there
        results = [one.step(), one.step()]
    results += finish(one)
    assert curve(results) == whole[0]
    assert [bool(result["unsaved"]) for result in results] == [True, False, False, False]
    assert "no route to host; the previous checkpoint is kept" in results[0]["unsaved"]
    assert "saved again" in log_of(tmp_path / "sweep")
    assert_same_weights(there / "best.ckpt", whole[1])


def test_a_trial_that_was_begun_is_not_started_over_because_its_store_is_silent(
    one: AdapterTrainable, whole: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = on_a_store(tmp_path)
    swap(one, asked)
    first = one.step()
    with monkeypatch.context() as patch:
        patch.setattr(StorePath, "exists", refused)
        swap(one, asked)
        failure = one.step()["failure"]
    assert failure["outcome"] == "failed"
    assert "does not answer: no route to host" in failure["reason"]
    swap(one, asked)  # as `--retry-failed` does
    again = finish(one)
    assert again[0]["report"] == first["report"]
    assert curve(again) == whole[0]
