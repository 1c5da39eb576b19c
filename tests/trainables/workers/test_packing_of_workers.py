"""How many trials a worker takes: what it decides, what its steps show, and what it says of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packs import LORA, Driver, assert_alike

from tests.trainables.conftest import config
from trainables.packing.gain import Gain
from trainables.packing.group import group_of
from trainables.packing.pack import PackEngine
from trainables.packing.stacked import PackedModel
from trainables.specs.pack import Packing, WhyLanes
from trainables.training.engine import Engine
from trainables.workers.packed_trainable import PackedTrainable

IA3 = '{"adapter": "peft", "peft": {"method": "IA3"}, "epochs": 3, "batch_size": 8}'
GROUP = group_of(config(LORA.replace("SEED", "0")))


@pytest.fixture
def actor(actor: PackedTrainable) -> PackedTrainable:
    """The worker, with nothing learned from the steps of an earlier test."""
    actor._packs = None
    return actor


def log(experiment: Path, number: int) -> str:
    return (experiment / "trials" / f"{number:04d}" / "log.txt").read_text()


def limit_memory(actor: PackedTrainable, monkeypatch: pytest.MonkeyPatch, *, images: int) -> list[int]:
    """More images in a step of a pack, or of a trial alone, do not fit; returns how many were tried."""
    task = type(actor._engine().task)
    losses, loss = PackedModel.losses, task.loss
    tried = []

    def fits(count: int) -> None:
        tried.append(count)
        if count > images:
            raise torch.OutOfMemoryError("scripted")

    def packed(model: PackedModel, lanes: Any, batches: Any) -> Any:
        fits(sum(len(batch.indices) for batch in batches))
        return losses(model, lanes, batches)

    def alone(self: Any, model: Any, batch: Any, asked: Any) -> Any:
        fits(len(batch.indices))
        return loss(self, model, batch, asked)

    monkeypatch.setattr(PackedModel, "losses", packed)
    monkeypatch.setattr(task, "loss", alone)
    return tried


# --- what is decided ------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "room"), [(8, 16), (16, 8), (2, 16)])
def test_a_worker_that_decides_itself_has_128_images_in_flight(
    actor: PackedTrainable, tmp_path: Path, batch_size: int, room: int
) -> None:
    driver = Driver(tmp_path, actor, lanes=None)
    driver.start(0, text=LORA.replace("8", str(batch_size)))
    first = driver.step()
    assert first["room"] == room
    (said,) = first["packing"]
    assert said["lanes"] == room
    assert said["lane_mb"] > 0
    assert f"{room} trials at once" in log(tmp_path, 0)
    assert driver.step()["packing"] == []  # it is said once


def test_memory_that_is_short_leaves_room_for_fewer(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = PackEngine.bytes_of_lane
    monkeypatch.setattr(PackEngine, "bytes_of_lane", lambda *of: one(*of) and 1000)
    monkeypatch.setattr("trainables.packing.capacity.bytes_for_packing", lambda *_, **__: 2 * 1000 * 7)
    driver = Driver(tmp_path, actor, lanes=None)
    driver.start(0)
    first = driver.step()
    assert (first["room"], first["packing"][0]["why"]) == (4, WhyLanes.MEMORY)  # a power of two


def test_trials_whose_packed_losses_would_differ_get_no_partners(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.packing.pack.agrees", lambda *_: False)
    driver = Driver(tmp_path, actor, lanes=None)
    driver.start(0)
    first = driver.step()
    assert (first["room"], first["packing"][0]["why"]) == (1, WhyLanes.DIFFERS)


def test_a_trial_that_cannot_be_packed_gets_no_partners_until_one_that_can_joins(
    actor: PackedTrainable, tmp_path: Path
) -> None:
    driver = Driver(tmp_path, actor, lanes=None)
    driver.start(0, text=IA3)
    assert (driver.step()["room"], driver.job.lanes) == (1, None)
    driver.start(1)
    changed = driver.step()
    assert (changed["room"], changed["results"]) == (16, [])
    driver.leave(1)
    assert driver.step()["room"] == 16  # whoever is there: a resumed sweep has the same number


def test_what_is_recorded_is_not_decided_again(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackEngine, "bytes_of_lane", lambda *_: pytest.fail("it was looked at"))
    assert GROUP is not None
    decided = Packing(group=GROUP, lanes=5, why=WhyLanes.MEMORY)
    driver = Driver(tmp_path, actor, lanes=None, decided=(decided,))
    driver.start(0)
    first = driver.step()
    assert (first["room"], first["packing"]) == (5, [])


def test_deciding_leaves_the_trial_as_it_was(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any]
) -> None:
    """A pack that decides, compares and has partners gives the numbers of one that does none of this."""
    plain, decides = Driver(tmp_path / "plain", actor, lanes=1), None
    plain.start(0)
    plain.finish()
    actor._packs = None
    decides = Driver(tmp_path / "decides", actor, lanes=None)
    decides.start(0)
    decides.step()
    decides.start(1, 2)
    decides.finish()
    assert decides.curve(0) == plain.curve(0)
    assert_alike(decides.curve(2), alone(2))


# --- what steps show ------------------------------------------------------------------------------


def test_the_gain_is_said_once_it_is_known(actor: PackedTrainable, tmp_path: Path) -> None:
    driver = Driver(tmp_path, actor, lanes=None)
    driver.start(0, 1, text=LORA.replace('"epochs": 3', '"epochs": 24'))
    said = driver.step()["packing"]
    while actor.slots:
        said += driver.step()["packing"]
    assert [each["timed"] for each in said] == [None, 2]
    assert said[1]["together_ms"] > 0
    assert said[1]["alone_ms"] > 0
    assert (said[0]["lanes"], said[0]["lane_mb"]) == (said[1]["lanes"], said[1]["lane_mb"])
    assert "ms a trial's step" in log(tmp_path, 1)


def test_where_packing_does_not_pay_steps_are_taken_one_at_a_time(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, 1, 2)
    driver.step()
    assert GROUP is not None
    actor._pack().gains[GROUP] = Gain(lanes=3, together_s=2.0, alone_s=1.0)
    tried = limit_memory(actor, monkeypatch, images=8)  # of one trial
    said = driver.step()["packing"]
    driver.finish()
    assert set(tried) == {8}
    assert said[0]["lanes"] == 3  # which trials run at once does not depend on a clock
    assert "does not pay" in log(tmp_path, 2)
    assert {result["report"]["lanes"] for results in driver.results.values() for result in results} == {1}


def test_out_of_memory_shrinks_the_room_and_no_trial_is_lost(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, actor, lanes=None)
    driver.start(0, 1, 2, 3)
    assert driver.step()["room"] == 16
    tried = limit_memory(actor, monkeypatch, images=16)
    changed = driver.step()
    assert (changed["room"], changed["packing"][0]["why"]) == (2, WhyLanes.OUT_OF_MEMORY)
    assert tried[:3] == [32, 16, 16]
    assert "memory ran out" in log(tmp_path, 3)
    driver.finish()
    assert set(tried[3:]) == {16}
    for number in range(4):
        assert_alike(driver.curve(number), alone(number))
    lanes = {result["report"]["lanes"] for results in driver.results.values() for result in results}
    assert lanes == {2}


def test_a_trial_that_does_not_fit_alone_goes_on_in_micro_batches(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, 1)
    driver.step()
    actor._advance()
    tried = limit_memory(actor, monkeypatch, images=4)
    driver.finish()
    assert tried[:5] == [8, 8, 4, 4, 8]  # in the pack, alone, and in parts; then the other trial
    for number in range(2):
        assert_alike(driver.curve(number), alone(number))
    assert {result["report"]["lanes"] for result in driver.results[0][1:]} == {1}


@pytest.mark.parametrize("leaves", [False, True], ids=["it ends", "it is stopped"])
def test_a_trial_that_memory_has_no_room_for_starts_when_another_one_has_ended(
    actor: PackedTrainable,
    tmp_path: Path,
    alone: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
    leaves: bool,
) -> None:
    start, live = Engine.start, actor._engine()

    def fits(engine: Engine, asked: Any, **given: Any) -> Any:
        if sum(slot.running.state is not None for slot in actor.slots.values()) >= 2:
            raise torch.OutOfMemoryError("scripted")
        return start(engine, asked, **given)

    monkeypatch.setattr(Engine, "start", fits)
    driver = Driver(tmp_path, actor, lanes=4)
    driver.start(0, 1, 2)
    driver.step()
    assert actor._engine() is live
    assert sorted(actor.slots) == [0, 1]
    assert "it waits until another trial of its worker ends" in log(tmp_path, 2)
    if leaves:
        driver.leave(0)
        driver.leave(1)
    driver.finish()
    assert_alike(driver.curve(2), alone(2))


def test_a_trial_that_waits_can_be_stopped(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Engine.start

    def fits(engine: Engine, asked: Any, **given: Any) -> Any:
        if any(slot.running.state is not None for slot in actor.slots.values()):
            raise torch.OutOfMemoryError("scripted")
        return start(engine, asked, **given)

    monkeypatch.setattr(Engine, "start", fits)
    driver = Driver(tmp_path, actor, lanes=4)
    driver.start(0, 1)
    driver.step()
    driver.leave(1)
    driver.finish()
    assert list(driver.results) == [0]
    assert len(driver.curve(0)) == 3


def test_a_trial_that_does_not_fit_into_an_empty_worker_fails(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits(engine: Engine, asked: Any, **given: Any) -> Any:
        raise torch.OutOfMemoryError("scripted")

    monkeypatch.setattr(Engine, "start", fits)
    driver = Driver(tmp_path, actor, lanes=4)
    driver.start(0)
    (result,) = driver.step()["results"]
    assert result["done"]
    assert "scripted" in result["failure"]["reason"]
