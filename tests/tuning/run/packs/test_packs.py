"""Packs under a stand-in for Ray Tune: what is proposed, to whom, and what becomes of packs that die."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from scripted import Scripted, essence
from scripted_pack import FakeTune, ScriptedPack

from trainables.errors import ClusterError
from trainables.run_folder import CONTROL
from trainables.specs.job import Failure
from trainables.specs.pack import PackOrders
from tuning.ledger.ledger import read_records
from tuning.ledger.recorder import Halt
from tuning.ledger.records import (
    EndedRecord,
    Ending,
    Outcome,
    Record,
    ReportRecord,
    StartedRecord,
    StoppedBy,
    StoppedRecord,
)
from tuning.run.packs.order_file import OrderFile

ASHA = {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}}
AUTO = {"packing": "auto"}


def outcomes(tune: FakeTune) -> dict[int, Outcome | None]:
    return {number: trial.outcome for number, trial in tune.recorder.history.trials.items()}


def at_once(events: list[Record]) -> int:
    now, most = set(), 0
    for record in events:
        if isinstance(record, StartedRecord):
            now.add(record.trial)
        if isinstance(record, EndedRecord):
            now.discard(record.trial)
        most = max(most, len(now))
    return most


def started(tune: FakeTune) -> list[int]:
    return [record.trial for record in tune.events if isinstance(record, StartedRecord)]


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_sweep_in_packs_runs_every_trial_once_and_records_it(tmp_path: Path, places: int) -> None:
    tune = FakeTune(tmp_path / "sweep", places=places, search={"trials": 20}, scheduler=ASHA)
    tune.run()
    assert started(tune) == list(range(20))
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED, Outcome.PRUNED}
    assert at_once(tune.events) == min(3 * places, 20)
    assert tune.finished
    assert list(read_records(tune.folder))[1:] == tune.events
    assert list((tune.folder / CONTROL).iterdir()) == []
    for trial in tune.recorder.history.trials.values():
        assert [r.epoch for r in trial.reports] == [float(e + 1) for e in range(len(trial.reports))]
        assert (trial.outcome is Outcome.COMPLETED) == (len(trial.reports) == 9)


def test_a_worker_that_decides_itself_gets_one_trial_and_then_as_many_as_it_takes(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", resources=AUTO, search={"random": {}, "trials": 8})
    tune.open()
    assert tune.sizes == [1]
    tune.turn()
    assert tune.sizes == [4]
    assert not [record for record in tune.events if isinstance(record, ReportRecord)]


def test_trials_are_spread_over_the_workers(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", places=2, resources={"packing": 8}, search={"trials": 6})
    tune.open()
    assert tune.sizes == [3, 3]
    tune.run()
    assert Counter(outcomes(tune).values()) == {Outcome.COMPLETED: 6}


def test_a_search_that_learns_has_a_quarter_of_its_trials_at_once(tmp_path: Path) -> None:
    few, many = (
        FakeTune(tmp_path / name, places=2, resources=AUTO, search=search | {"trials": 16})
        for name, search in (("few", {"tpe": {}}), ("many", {"random": {}}))
    )
    for tune in (few, many):
        tune.run()
    assert (at_once(few.events), at_once(many.events)) == (4, 8)


def test_concurrent_limits_the_trials_and_not_the_workers(tmp_path: Path) -> None:
    resources = {"packing": 4, "concurrent": 3}
    tune = FakeTune(tmp_path / "sweep", places=2, resources=resources, search={"trials": 9})
    tune.open()
    assert tune.sizes == [2, 1]
    tune.run()
    assert at_once(tune.events) == 3


def test_a_trial_goes_to_a_pack_with_others_of_its_group(tmp_path: Path) -> None:
    batches = [2, 4, 4, 2, 4, 2]
    tune = FakeTune(
        tmp_path / "sweep",
        places=2,
        resources=AUTO,
        space={"batch_size": {"choice": [2, 4]}, "seed": {"int": [0, 9]}},
        search={"first": [{"batch_size": b, "seed": i} for i, b in enumerate(batches)], "random": {}},
    )
    tune.open()
    for pack in range(2):
        tune.packs.heard(pack, room=4, read=0, clock=0)
    tune.packs.refill()
    members = {pack: [batches[n] for n in tune.packs.members(pack) if n < 6] for pack in range(2)}
    assert members == {0: [2, 2, 2], 1: [4, 4, 4]}


def test_what_is_ordered_was_recorded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, orders = OrderFile.write, []

    def noted(self: OrderFile) -> None:
        write(self)
        if not self.path.exists():
            return
        recorded = list(read_records(tune.folder))
        for order in PackOrders.model_validate_json(self.path.read_bytes()).orders:
            number = order.leave if order.start is None else order.start.trial
            kind = EndedRecord if order.start is None else StartedRecord
            orders.append(kind)
            assert any(isinstance(record, kind) and record.trial == number for record in recorded)

    monkeypatch.setattr(OrderFile, "write", noted)
    tune = FakeTune(tmp_path / "sweep", search={"trials": 10}, scheduler=ASHA)
    tune.run()
    assert {StartedRecord, EndedRecord} == set(orders)


def test_the_lane_of_a_trial_is_taken_before_the_next_result_is_looked_at(tmp_path: Path) -> None:
    """So what is proposed next depends on the record up to there, and a resumed sweep proposes the same."""
    tune = FakeTune(tmp_path / "sweep", search={"trials": 9}, scheduler=ASHA)
    tune.run()
    events = [record for record in tune.events if record.kind != "built"]
    kinds = [record.kind for record in events]
    pruned = [i for i, record in enumerate(events) if isinstance(record, StoppedRecord)]
    assert any(kinds[i : i + 4] == ["stopped", "ended", "started", "report"] for i in pruned)
    assert all(kinds[i + 1] == "ended" for i in pruned)


def test_what_a_sampler_noted_is_recorded_with_its_proposal(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path, search={"trials": 4, "qmc": {}})
    tune.run()
    noted = [event.sampler for event in tune.events if isinstance(event, StartedRecord)]
    assert [list(each.study.values()) for each in noted if each is not None] == [[0], [1], [2], [3]]


def test_in_a_single_pack_it_is_recorded_where_a_trial_joined(tmp_path: Path) -> None:
    one, two = (
        FakeTune(tmp_path / str(places), places=places, search={"trials": 6}, trial={"epochs": 2})
        for places in (1, 2)
    )
    for tune in (one, two):
        tune.run()
    joined = [r.joined for r in one.events if isinstance(r, StartedRecord)]
    assert joined == [0, 0, 0, 20, 20, 20]
    assert {r.joined for r in two.events if isinstance(r, StartedRecord)} == {None}


def test_where_one_of_two_packs_is_left_a_trial_joins_where_that_one_is(tmp_path: Path) -> None:
    """The other was further on; the new trial would wait until this one has come as far."""
    tune = FakeTune(tmp_path / "sweep", places=2, resources={"packing": 2}, search={"trials": 9})
    tune.open()
    tune.packs.heard(0, room=2, read=9, clock=40)
    tune.packs.heard(1, room=2, read=9, clock=9000)
    tune.places = 1
    tune.kill(1)
    tune.packs.heard(0, room=2, read=9, clock=50)
    tune.packs.left(0, tell=True)
    tune.packs.refill()
    last = [record for record in tune.events if isinstance(record, StartedRecord)][-1]
    assert (last.trial, last.joined) == (2, None)  # it continues
    tune.packs.left(1, tell=True)
    tune.packs.left(2, tell=True)
    tune.packs.refill()
    tune.packs.left(3, tell=True)
    tune.packs.refill()
    new = [r.joined for r in tune.events if isinstance(r, StartedRecord) and r.trial > 3]
    assert new == [50, 50]


class Failing(Scripted):
    """Fails, or has a value that is not finite, by its number."""

    def value(self, epoch: float) -> float:
        return float("nan") if self.job.trial == 1 and epoch == 2 else super().value(epoch)

    def failure(self, epoch: float) -> Failure | None:
        return Failure(reason="out of memory") if self.job.trial == 2 and epoch == 2 else None


class FailingPack(ScriptedPack):
    trial_class = Failing


def test_a_trial_that_fails_leaves_the_others_untouched(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", pack=FailingPack, search={"trials": 6})
    tune.run()
    assert outcomes(tune) == {
        0: Outcome.COMPLETED,
        1: Outcome.DIVERGED,
        2: Outcome.FAILED,
        3: Outcome.COMPLETED,
        4: Outcome.COMPLETED,
        5: Outcome.COMPLETED,
    }
    ended = tune.recorder.trial(2).ended
    assert ended is not None
    assert ended.reason == "out of memory"


def test_a_configuration_that_is_none_or_was_tried_takes_no_lane(tmp_path: Path) -> None:
    tune = FakeTune(
        tmp_path / "sweep",
        space={"batch_size": {"choice": [0, 1, 2, 3, 4, 5]}},
        search={"grid": {}},
    )
    tune.open()
    assert tune.sizes == [3]
    tune.run()
    assert outcomes(tune) == {0: Outcome.FAILED} | dict.fromkeys(range(1, 6), Outcome.COMPLETED)
    assert "batch_size" in str(tune.recorder.trial(0).ended)


# --- packs that die -------------------------------------------------------------------------------


def turn_until_reports(tune: FakeTune, number: int) -> None:
    tune.run(until=lambda: sum(isinstance(r, ReportRecord) for r in tune.events) >= number)


def test_partners_of_a_pack_that_died_run_again_and_are_charged_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 6})
    turn_until_reports(tune, 6)
    tune.kill(0)
    assert "the worker process of trials 0, 1, 2 died" in capsys.readouterr().err
    tune.open()
    assert tune.packs.members(1) == [0, 1, 2]
    assert [tune.recorder.trial(n).joined for n in range(3)] == [0, 0, 0]
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}
    for trial in tune.recorder.history.trials.values():
        assert [r.epoch for r in trial.reports] == [float(e + 1) for e in range(9)]


@pytest.mark.parametrize("reports", [1, 4, 11, 30])
def test_a_single_pack_that_dies_changes_nothing_of_the_sweep(tmp_path: Path, reports: int) -> None:
    """Its trials start again; each takes its old place, so that reports and proposals keep their order."""
    whole, died = (
        FakeTune(tmp_path / name, search={"trials": 12, "tpe": {"startup_trials": 3}}, scheduler=ASHA)
        for name in ("whole", "died")
    )
    whole.run()
    turn_until_reports(died, reports)
    died.kill(0)
    died.run()
    assert Outcome.PRUNED in outcomes(whole).values()
    assert essence(died.folder) == essence(whole.folder)


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("retries", [0, 2])
def test_the_trial_at_fault_shows_itself_and_it_alone_fails(
    tmp_path: Path, places: int, retries: int
) -> None:
    """Each pack with trial 1 dies at once."""
    tune = FakeTune(tmp_path / "sweep", places=places, search={"trials": 9}, retries=retries)
    packs_with_it = []

    for _ in range(500):
        tune.open()
        if (pack := tune.packs.pack_of(1)) is not None:
            packs_with_it.append(tune.packs.members(pack))
            tune.kill(pack)
        elif not tune.turn():
            break
    assert outcomes(tune) == {n: Outcome.FAILED if n == 1 else Outcome.COMPLETED for n in range(9)}
    ended = tune.recorder.trial(1).ended
    assert ended is not None
    assert ended.reason == "its worker process died"
    in_company, alone = packs_with_it[:2], packs_with_it[2:]
    assert all(len(members) > 1 for members in in_company)
    assert alone == [[1]] * (1 + retries)


def test_trials_whose_packs_died_twice_run_one_after_the_other_without_partners(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 6})
    for pack in range(2):
        tune.open()
        assert tune.packs.members(pack) == [0, 1, 2]
        tune.kill(pack)
    for number in range(3):
        tune.open()
        tune.turn()
        assert tune.packs.members(2 + number) == [number]
        tune.run(until=lambda number=number: tune.recorder.trial(number).ended is not None)
    tune.open()
    assert tune.sizes == [3]
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}


def test_a_trial_that_dies_alone_is_charged(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", resources={"packing": 1}, search={"trials": 2}, retries=1)
    tune.open()
    tune.kill(0)
    tune.open()
    assert tune.packs.members(1) == [0]
    tune.kill(1)
    assert outcomes(tune)[0] is Outcome.FAILED
    tune.run()
    assert outcomes(tune) == {0: Outcome.FAILED, 1: Outcome.COMPLETED}


def test_the_search_is_not_over_while_a_pack_may_die(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", places=2, search={"trials": 3})
    tune.open()
    assert tune.searcher.suggest("more") is None
    for pack in range(2):
        tune.kill(pack)
    assert not tune.finished
    tune.run()
    assert tune.searcher.suggest("more") == Searcher.FINISHED
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}


class Broken(ScriptedPack):
    """Its worker cannot be set up, like that of `cluster.ray_worker`."""

    unfit = False

    def step(self) -> dict[str, Any]:
        failure = {"outcome": "failed", "reason": "ImportError: no torch", "unfit": self.unfit}
        return {"trial": self.job.trial, "failure": failure, "done": True}


class Unfit(Broken):
    unfit = True


def test_a_worker_that_cannot_be_set_up_fails_its_trials_with_the_reason(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", pack=Broken, search={"trials": 4})
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.FAILED}
    assert {t.ended.reason for t in tune.recorder.history.trials.values() if t.ended} == {
        "ImportError: no torch"
    }


def test_a_node_that_can_run_no_pack_ends_the_sweep_and_blames_none(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", pack=Unfit, search={"trials": 4})
    with pytest.raises(Halt) as halted:
        tune.run()
    assert halted.value.ending is Ending.FAILED
    assert isinstance(halted.value.error, ClusterError)
    assert set(outcomes(tune).values()) == {None}


# --- requests of the user -------------------------------------------------------------------------


def test_the_user_stops_one_trial_and_another_takes_its_lane(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 6})
    turn_until_reports(tune, 3)
    (tune.folder / CONTROL / "stop-1").touch()
    tune.turn()
    trial = tune.recorder.trial(1)
    assert trial.stopped is not None
    assert (trial.outcome, trial.stopped.by, trial.stopped.epoch) == (Outcome.STOPPED, StoppedBy.USER, 1.0)
    assert (tune.folder / CONTROL / "stopped.1").exists()  # for its worker
    assert tune.packs.members(0) == [0, 2, 3]
    tune.run()
    assert len(tune.recorder.trial(1).reports) == 1
    assert Counter(outcomes(tune).values()) == {Outcome.COMPLETED: 5, Outcome.STOPPED: 1}


def test_a_request_to_stop_a_trial_that_does_not_run_stops_nothing(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 3})
    tune.open()
    for number in (7, 99):
        (tune.folder / CONTROL / f"stop-{number}").touch()
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}


def test_the_user_stops_the_sweep(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 3})
    tune.open()
    (tune.folder / CONTROL / "stop").touch()
    with pytest.raises(Halt) as halted:
        tune.run()
    assert halted.value.ending is Ending.INTERRUPTED
