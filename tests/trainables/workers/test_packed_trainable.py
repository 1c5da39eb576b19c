"""A pack's actor, without a cluster: trials join and leave, each reports what it reports alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packs import UNBUILDABLE, WILD, Driver, assert_alike

from trainables.packing.pack import PackEngine
from trainables.specs.report import Report
from trainables.training.checkpoint import read_state
from trainables.training.engine import Engine
from trainables.workers import packed_trainable
from trainables.workers.packed_trainable import PackedTrainable
from trainables.workers.running_trial import RunningTrial


def test_the_first_step_starts_trials_and_says_how_many_there_is_room_for(
    actor: PackedTrainable, tmp_path: Path
) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0)
    first = driver.step()
    assert (first["results"], first["room"], first["read"], first["done"]) == ([], 3, 1, False)
    assert driver.actor.slots[0].state.step == 0


def test_each_trial_reports_what_it_reports_alone_though_others_join_and_leave(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any]
) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, 1)
    driver.step()
    assert [r["trial"] for r in driver.step()["results"]] == [0, 1]
    driver.leave(0)
    driver.start(2)
    driver.finish()
    assert_alike(driver.curve(0), alone(0)[:1])
    assert_alike(driver.curve(1), alone(1))
    assert_alike(driver.curve(2), alone(2))
    assert driver.order == [(0, 1.0), (1, 1.0), (1, 2.0), (2, 1.0), (1, 3.0), (2, 2.0), (2, 3.0)]
    assert sum(result["built"] is not None for result in driver.results[1]) == 1


def test_what_goes_wrong_with_one_leaves_the_others_untouched(
    actor: PackedTrainable, tmp_path: Path, alone: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One diverges, one cannot be built, one raises in a step, one in its report."""
    driver = Driver(tmp_path, actor, lanes=5)
    driver.start(0)
    driver.start(1, text=WILD)
    driver.start(2, text=UNBUILDABLE)
    driver.start(3, 4)
    reported = RunningTrial.reported

    def raises(self: RunningTrial, report: Report) -> Any:
        return 1 / 0 if self.job.trial == 4 else reported(self, report)

    monkeypatch.setattr(RunningTrial, "reported", raises)
    driver.step()
    actor.slots[3].state.optimizer = None  # type: ignore[assignment]
    driver.finish()
    assert_alike(driver.curve(0), alone(0))
    outcomes = {n: r[-1]["failure"]["outcome"] for n, r in driver.results.items() if r[-1]["failure"]}
    assert outcomes == {1: "diverged", 2: "failed", 3: "failed", 4: "failed"}
    assert "steps" in driver.results[2][0]["failure"]["reason"]
    assert "NoneType" in driver.results[3][0]["failure"]["reason"]
    assert "Traceback" in (tmp_path / "trials" / "0003" / "log.txt").read_text()
    assert all(r[-1]["done"] for r in driver.results.values())


@pytest.mark.parametrize("saved", [(5, 2, 4), (2, 5, 3), (3, 3, 6)])
def test_trials_that_died_at_different_steps_report_in_the_order_of_the_pack_that_did_not_die(
    actor: PackedTrainable, tmp_path: Path, saved: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs have three steps. Reports that are in a checkpoint, but maybe not in the record, come again."""
    whole = Driver(tmp_path / "whole", actor)
    whole.start(0, 1, 2, joined=0)
    whole.finish()
    rest = [(n, e) for n, e in whole.order if 3 * e >= saved[n]]

    died = Driver(tmp_path / "died", actor, save_every_epochs=None)
    died.start(0, 1, 2, joined=0)
    died.step()
    taken = RunningTrial.save_if_due, RunningTrial.reported

    def save_at(self: RunningTrial) -> None:
        if self.state is not None and self.state.step == saved[self.job.trial]:
            self._save(self.state, self._report_of_now())

    def report_and_save(self: RunningTrial, report: Report) -> Any:
        result = taken[1](self, report)
        save_at(self)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(RunningTrial, "save_if_due", save_at)
        patch.setattr(RunningTrial, "reported", report_and_save)
        patch.setattr(RunningTrial, "_due", lambda self: False)
        while len(died.order) < 6:
            died.step()
    steps = [
        read_state(tmp_path / "died" / "trials" / f"{n:04d}" / "last.ckpt").held["step"] for n in range(3)
    ]
    assert tuple(steps) == saved
    again = Driver(tmp_path / "died", actor)
    again.start(2, 0, 1, joined=0)
    again.finish()
    assert again.order == rest
    for number in range(3):
        assert again.curve(number) == whole.curve(number)[-len(again.curve(number)) :]


def test_a_trial_joins_where_the_pack_is(actor: PackedTrainable, tmp_path: Path) -> None:
    driver = Driver(tmp_path, actor)
    driver.start(0, joined=0)
    driver.step()
    assert driver.step()["clock"] == 3
    driver.start(1)
    driver.start(2, joined=2)  # a step behind
    driver.step()
    assert {number: slot.clock for number, slot in actor.slots.items()} == {0: 5, 1: 5, 2: 5}
    assert {number: slot.state.step for number, slot in actor.slots.items()} == {0: 5, 1: 2, 2: 3}


def test_orders_that_are_torn_late_or_missing_lose_no_trial(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_trainable, "WAIT_FOR_ORDERS_S", 0.05)
    driver = Driver(tmp_path, actor)
    assert driver.step()["read"] == 0
    driver.start(0)
    whole = driver.job.orders.read_bytes()
    driver.job.orders.write_bytes(whole[: len(whole) // 2])
    assert (driver.step()["read"], actor.slots) == (0, {})
    driver.job.orders.unlink()
    assert (driver.step()["read"], actor.slots) == (0, {})
    driver.job.orders.write_bytes(whole)
    assert driver.step()["read"] == 1
    before = actor.slots[0].state.step
    assert driver.step()["read"] == 1  # an order that is still there is not carried out again
    assert actor.slots[0].state.step > before


def test_what_breaks_the_backbone_fails_every_trial_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path)
    driver.start(0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "__init__", lambda *_: 1 / 0)
        driver.step()
    assert [(r["trial"], r["done"]) for rs in driver.results.values() for r in rs] == [(0, True), (1, True)]
    assert all("division" in rs[0]["failure"]["reason"] for rs in driver.results.values())
    driver.start(2)
    driver.step()
    assert list(driver.actor.slots) == [2]


def test_an_actor_that_is_reused_keeps_its_engine_and_drops_its_trials(
    actor: PackedTrainable, tmp_path: Path
) -> None:
    first = Driver(tmp_path, actor)
    first.start(0)
    first.step(), first.step()
    pack = actor._packs
    second = Driver(tmp_path, actor)
    assert actor.slots == {}
    second.start(1)
    assert second.step()["results"] == []
    assert [r["trial"] for r in second.step()["results"]] == [1]
    assert actor._packs is pack


def test_only_trials_that_are_furthest_back_are_advanced(
    actor: PackedTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced: list[list[int]] = []
    advance = PackEngine.advance

    def noted(self: PackEngine, states: Any, **how: Any) -> Any:
        advanced.append([state.number for state in states])
        return advance(self, states, **how)

    monkeypatch.setattr(PackEngine, "advance", noted)
    driver = Driver(tmp_path, actor)
    driver.start(0, joined=2)
    driver.start(1, joined=0)
    driver.step(), driver.step()
    assert advanced == [[1], [1], [0, 1]]
