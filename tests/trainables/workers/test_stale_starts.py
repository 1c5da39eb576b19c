"""A worker whose trial has started again elsewhere saves nothing more, however late it comes to know."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from marks import slow
from packs import Driver

from tests.trainables.conftest import actor_of, trial_job
from trainables import storage_paths
from trainables.run_folder import BEST_WEIGHTS, CONTROL, HALT, HALTED, LAST_STATE
from trainables.specs.job import TrialJob
from trainables.start_number import start_file, write_start
from trainables.storage_paths import Place, StorePath
from trainables.training import checkpoint
from trainables.training.checkpoint import read_state, stored_digest
from trainables.workers import running_trial
from trainables.workers.packed_trainable import PackedTrainable

ROOT = Path(__file__).parents[3]
LORA = '{"adapter": "lora", "epochs": 3, "batch_size": 8}'
FILES = (BEST_WEIGHTS, LAST_STATE)


@pytest.fixture(params=["folder", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the checkpoints of the experiment in `tmp_path` are."""
    return tmp_path if request.param == "folder" else StorePath.of((tmp_path / "store").as_uri())


def started(
    experiment: Path, number: int, trial: int = 0, root: Place | None = None, **fields: Any
) -> TrialJob:
    """A trial's job in its start of that number, as the driver makes it. root: of the checkpoints."""
    root = root or experiment
    file = start_file(root, trial)
    write_start(file, number)
    given = {"start": number, "starts": str(file), "checkpoints": str(folder_of(root, trial))}
    return trial_job(experiment, LORA, trial, **given, **{"save_every_epochs": 1.0} | fields)


def folder_of(root: Place, trial: int = 0) -> Place:
    return root / "trials" / f"{trial:04d}"


def contents(root: Place, trial: int = 0) -> list[bytes]:
    return [(folder_of(root, trial) / name).read_bytes() for name in FILES]


def finish(job: TrialJob) -> list[dict[str, Any]]:
    actor = actor_of(job)
    results = [actor.step()]
    while not results[-1]["done"]:
        results.append(actor.step())
    actor.cleanup()
    return results


def test_results_say_the_digests_of_both_files(tmp_path: Path, root: Place) -> None:
    results = finish(started(tmp_path, 1, root=root))
    folder = folder_of(root)
    last: dict[str, str] = {}
    for result in results:
        last |= result["saved"]
    assert last == {name: stored_digest(folder / name) for name in FILES}


def test_after_a_restart_the_first_report_says_what_is_there(tmp_path: Path, root: Place) -> None:
    actor = actor_of(started(tmp_path, 1, root=root))
    actor.step()
    again = actor_of(started(tmp_path, 2, root=root)).step()
    folder = folder_of(root)
    assert again["saved"] == {name: stored_digest(folder / name) for name in FILES}


@pytest.mark.parametrize("in_mid_epoch", [True, False])
def test_a_worker_that_finds_a_newer_start_stops_and_writes_nothing(
    tmp_path: Path, root: Place, monkeypatch: pytest.MonkeyPatch, *, in_mid_epoch: bool
) -> None:
    actor = actor_of(started(tmp_path, 1, root=root))
    actor.step()
    finish(started(tmp_path, 2, root=root))
    before = contents(root)
    monkeypatch.setattr(running_trial, "POLL_INTERVAL_S", 0.0 if in_mid_epoch else 1e9)
    last = actor.step()
    assert (last["done"], last["report"], last["failure"]) == (True, None, None)
    actor.cleanup()
    assert contents(root) == before
    assert read_state(folder_of(root) / LAST_STATE).held["step"] == 9


def test_a_start_that_comes_while_a_checkpoint_is_being_written_is_noticed(
    tmp_path: Path, root: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither file gets its name. This worker wrote the trial's first checkpoints itself."""
    monkeypatch.setattr(running_trial, "POLL_INTERVAL_S", 1e9)
    actor = actor_of(started(tmp_path, 1, root=root))
    actor.step()
    before = contents(root)
    written: list[str] = []
    write_file, stream = checkpoint.write_file, storage_paths._stream

    def to_a_folder(path: Path, *parts: bytes, durable: bool) -> None:
        write_file(path, *parts, durable=durable)
        written.append(path.name)
        write_start(start_file(root, 0), 2)

    def to_a_store(system: Any, path: str, parts: Any) -> None:
        stream(system, path, parts)
        if "/starts/" not in path:
            written.append(path.rpartition("/")[2])
            write_start(start_file(root, 0), 2)

    monkeypatch.setattr(checkpoint, "write_file", to_a_folder)
    monkeypatch.setattr(storage_paths, "_stream", to_a_store)
    last = actor.step()
    assert (last["done"], last["report"], last["failure"]) == (True, None, None)
    assert len(written) == 1
    assert contents(root) == before
    folder = folder_of(root)
    left = folder.files() if isinstance(folder, StorePath) else os.listdir(folder)
    assert not [name for name in left if name.endswith(".part")]


def test_what_a_worker_that_died_left_half_written_on_a_store_goes(tmp_path: Path) -> None:
    root = StorePath.of((tmp_path / "store").as_uri())
    actor_of(started(tmp_path, 1, root=root)).step()
    (folder_of(root) / ".last.ckpt.f00.part").write_bytes(b"half")
    finish(started(tmp_path, 2, root=root))
    assert set(StorePath.files(folder_of(root))) == set(FILES)  # type: ignore[arg-type]


def test_a_trial_of_a_pack_that_started_elsewhere_saves_nothing_and_its_partner_does(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_trial, "SAVING_SHARE", 0)
    driver = Driver(tmp_path, actor, save_every_s=0.0)
    for number in (0, 1):
        file = start_file(tmp_path, number)
        write_start(file, 1)
        driver.start(number, text=LORA, start=1, starts=str(file))
    driver.step()
    finish(started(tmp_path, 2))
    before = contents(tmp_path)
    driver.finish()
    assert contents(tmp_path) == before
    assert [result["epoch"] for result in driver.results[1]] == [1.0, 2.0, 3.0]
    assert driver.results[0][-1]["report"] is None
    assert read_state(tmp_path / "trials" / "0001" / LAST_STATE).held["step"] == 9


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fill(patch: pytest.MonkeyPatch) -> None:
    """No file can be written any more, in a folder or on a store."""
    patch.setattr(checkpoint, "write_file", full)
    patch.setattr(storage_paths, "_stream", full)


def test_best_weights_that_found_no_room_do_not_take_away_those_of_a_newer_start(
    tmp_path: Path, root: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = actor_of(started(tmp_path, 1, root=root))
    with monkeypatch.context() as patch:
        fill(patch)
        assert "the previous" in actor.step()["unsaved"]
    finish(started(tmp_path, 2, root=root))
    before = contents(root)
    fill(monkeypatch)
    actor.cleanup()
    assert contents(root) == before


def test_what_a_newer_start_is_writing_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_trial, "POLL_INTERVAL_S", 1e9)
    actor = actor_of(started(tmp_path, 1))
    write_start(start_file(tmp_path, 0), 2)
    writing = [tmp_path / "trials" / "0000" / f".{name}.999.part" for name in FILES]
    for part in writing:
        part.write_bytes(b"half")
    assert actor.step()["done"]
    assert [part.exists() for part in writing] == [True, True]


@pytest.mark.parametrize("disk", ["sound", "full"])
def test_it_does_not_say_that_it_has_saved_as_a_sweep_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    actor = actor_of(started(tmp_path, 1))
    write_start(start_file(tmp_path, 0), 2)
    (tmp_path / CONTROL).mkdir()
    (tmp_path / CONTROL / HALT).touch()
    if disk == "full":
        fill(monkeypatch)
    actor.running.save_if_halted()
    assert not (tmp_path / "trials" / "0000" / HALTED).exists()
    write_start(start_file(tmp_path, 0), 1)
    actor.running.lost = False
    actor.running.save_if_halted()
    assert (tmp_path / "trials" / "0000" / HALTED).exists()


FROZEN = """
import sys
from trainables import storage_paths
from trainables.specs.job import TrialJob
from trainables.workers import running_trial
from trainables.workers.ray_trainable import AdapterTrainable

running_trial.SAVING_SHARE = 0
actor = AdapterTrainable.__new__(AdapterTrainable)
actor.setup({"job": TrialJob.model_validate_json(sys.argv[1])})
actor.step()
print("reported", flush=True)
sys.stdin.readline()
for _ in range(2):
    result = actor.step()
    if result["done"]:
        break
actor.cleanup()
print("reports" if result["report"] else "gave up", flush=True)
"""


@pytest.mark.parametrize("save_every_s", [0.0, slow(1e9)])
def test_a_frozen_worker_whose_trial_finished_elsewhere_overwrites_nothing_when_it_thaws(
    tmp_path: Path, save_every_s: float
) -> None:
    job = started(tmp_path, 1, save_every_s=save_every_s)
    command = [sys.executable, "-c", FROZEN, job.model_dump_json()]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == "reported\n"
        worker.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
        results = finish(started(tmp_path, 2, save_every_s=save_every_s))
        assert [result["epoch"] for result in results] == [1.0, 2.0, 3.0]
        before = contents(tmp_path)
        worker.stdin.write("\n")
        worker.stdin.flush()
        worker.send_signal(signal.SIGCONT)
        assert worker.stdout.readline() == "gave up\n"
    assert contents(tmp_path) == before
    held = read_state(tmp_path / "trials" / "0000" / LAST_STATE)
    assert (held.held["step"], held.weights.identity.start) == (9, 2)  # type: ignore[union-attr]


def test_another_trials_state_is_not_continued(tmp_path: Path) -> None:
    finish(started(tmp_path, 1, trial=1))
    mine = tmp_path / "trials" / "0000"
    mine.mkdir()
    (mine / LAST_STATE).write_bytes((tmp_path / "trials" / "0001" / LAST_STATE).read_bytes())
    results = finish(started(tmp_path, 1))
    assert [result["epoch"] for result in results] == [1.0, 2.0, 3.0]
    log = (mine / "log.txt").read_text()
    assert "starting over: " in log
    assert "is a checkpoint of trial 1, of epoch 3, not of trial 0" in log
