"""Packs under a stand-in for Ray Tune: what is proposed, to whom, and what becomes of packs that die."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from scripted import Scripted
from scripted_pack import FakeTune, ScriptedPack, at_once, outcomes, started, turn_until_reports

from trainables.run_folder import CONTROL
from trainables.specs.job import Failure
from trainables.specs.pack import PackOrders
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Ending, Outcome, StoppedBy
from tuning.ledger.recorder import Halt
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord, StoppedRecord
from tuning.run.packs.order_file import OrderFile

ASHA = {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}}
AUTO = {"packing": "auto"}


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
