"""What trials of a pack save, and continue from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packs import LORA, Driver, assert_alike

from tests.trainables.conftest import actor_of, trial_job
from trainables.training.checkpoint import read_state, read_weights
from trainables.workers import packed_trainable
from trainables.workers.packed_trainable import PackedTrainable


def test_a_stopped_trial_saves_nothing_more_and_the_others_do(actor: PackedTrainable, tmp_path: Path) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, 1)
    driver.step(), driver.step()
    files = [tmp_path / "trials" / "0000" / name for name in ("best.ckpt", "last.ckpt")]
    before = [file.read_bytes() for file in files]
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "stopped.0").touch()
    first = driver.step()  # it was not told yet
    assert [(r["trial"], r["done"]) for r in first["results"]] == [(0, True), (1, False)]
    driver.leave(0)
    driver.finish()
    assert [file.read_bytes() for file in files] == before
    assert read_state(tmp_path / "trials" / "0001" / "last.ckpt").held["step"] == 9


@pytest.mark.parametrize("in_mid_epoch", [True, False])
def test_before_the_sweep_ends_each_trial_is_saved_with_the_report_that_may_be_lost(
    actor: PackedTrainable,
    tmp_path: Path,
    alone: Callable[[int], Any],
    in_mid_epoch: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver(tmp_path, actor, save_every_epochs=None)
    driver.start(0, 1)
    driver.step()
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "halt").touch()
    monkeypatch.setattr(packed_trainable, "POLL_INTERVAL_S", 0.0 if in_mid_epoch else 1e9)
    driver.step()
    for number in range(2):
        folder = tmp_path / "trials" / f"{number:04d}"
        assert (folder / "halted").exists()
        held = read_state(folder / "last.ckpt").held
        assert (held["step"], held["report"] is None) == ((1, True) if in_mid_epoch else (3, False))
        (folder / "halted").unlink()
    (tmp_path / "control" / "halt").unlink()
    again = Driver(tmp_path, actor)
    again.start(0, 1)
    again.finish()
    assert_alike(again.curve(0), alone(0))
    assert_alike(again.curve(1), alone(1))


def test_weights_and_states_of_a_pack_are_those_of_trials_alone(
    actor: PackedTrainable, tmp_path: Path
) -> None:
    """A trial continues alone from a state of a pack, and in a pack from a state of its own."""
    driver = Driver(tmp_path / "packed", actor)
    driver.start(0, 1)
    driver.finish()
    solo = actor_of(trial_job(tmp_path / "solo", LORA.replace("SEED", "1"), 1))
    solo.step()
    shutil.copytree(tmp_path / "solo", tmp_path / "changed")
    for _ in range(2):
        solo.step()
    changed = Driver(tmp_path / "changed", actor)
    changed.start(1)
    changed.finish()
    paths = [tmp_path / name / "trials" / "0001" / "best.ckpt" for name in ("packed", "solo", "changed")]
    first, *others = (read_weights(path).tensors for path in paths)
    for other in others:
        assert all(torch.allclose(tensor, other[name], atol=1e-4) for name, tensor in first.items())


def test_saving_takes_its_share_of_the_time_of_all(actor: PackedTrainable, tmp_path: Path) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, 1, 2)
    driver.step()
    assert [slot.running.partners for slot in actor.slots.values()] == [3, 3, 3]
    driver.leave(1)
    driver.step()
    assert [slot.running.partners for slot in actor.slots.values()] == [2, 2]


def test_a_checkpoint_that_is_broken_starts_only_its_trial_over(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any]
) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, 1)
    driver.step(), driver.step()
    (tmp_path / "trials" / "0000" / "last.ckpt").write_bytes(b"half")
    again = Driver(tmp_path, actor)
    again.start(0, 1)
    again.finish()
    assert_alike(again.curve(0), alone(0))
    assert_alike(again.curve(1), alone(1))
    assert "starting over" in (tmp_path / "trials" / "0000" / "log.txt").read_text()


def test_a_trial_that_rests_continues_from_the_report_at_which_it_began_to(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any]
) -> None:
    """It is saved at its rung, however short the time since the last save, and nowhere else."""
    driver = Driver(tmp_path, actor, save_every_epochs=None, save_at_epochs=(1.0, 9.0))
    driver.start(0, 1)
    while not driver.results:
        driver.step()
    assert [result["epoch"] for results in driver.results.values() for result in results] == [1.0, 1.0]
    driver.leave(0)
    driver.finish()
    held = read_state(tmp_path / "trials" / "0000" / "last.ckpt").held
    assert (held["step"], held["report"] is None) == (3, False)
    assert len(driver.results[0]) == 1
    again = Driver(tmp_path, actor, save_every_epochs=None, save_at_epochs=(1.0, 9.0))
    again.start(0)
    again.finish()
    assert [result["epoch"] for result in again.results[0]] == [1.0, 2.0, 3.0]
    assert_alike(again.curve(0), alone(0))
    assert_alike(driver.curve(1), alone(1))


def test_a_trial_that_leaves_for_a_while_is_saved_first_and_goes_on_as_if_it_had_stayed(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any]
) -> None:
    driver = Driver(tmp_path, actor, save_every_epochs=None)
    driver.start(0, 1)
    driver.step(), driver.step()
    assert not (tmp_path / "trials" / "0000" / "last.ckpt").exists()
    driver.leave(0, save=True)
    driver.step()
    assert read_state(tmp_path / "trials" / "0000" / "last.ckpt").held["step"] == 3
    driver.start(0)
    driver.finish()
    assert [result["epoch"] for result in driver.results[0]] == [1.0, 1.0, 2.0, 3.0], "the last one again"
    assert_alike(driver.curve(0)[1:], alone(0))
