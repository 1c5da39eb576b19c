"""A search that ends before its number of trials: when, and the same after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lone_worker import assert_the_same_from_everywhere, cut_off, go_on, run_alone
from scripted import experiment
from scripted_pack import FakeTune

from tuning.ledger.history import History
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome, SearchEndedBy
from tuning.ledger.parent import Parent
from tuning.ledger.records import (
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    SearchEndedRecord,
    StartedRecord,
)
from tuning.run.stopping.extension import Extension
from tuning.run.stopping.resting import end_resting
from tuning.run.stopping.search_end import SearchEnd

ASHA = {"asha": {"rule": "threshold"}}
RANK = {"asha": {"rule": "rank"}}
REST = {"asha": {"rule": "rank", "rest": True}}
BUDGET: dict[str, Any] = {"epochs": 60, "seed": 3, "tpe": {"startup_trials": 3}}
STOP: dict[str, Any] = {
    "trials": 60, "seed": 3, "tpe": {"startup_trials": 3}, "stop": {"after": 8, "gain": 0.02}
}  # fmt: skip


def epochs_before(records: list[Record], end: int) -> float:
    """The epochs of all trials that were reported in the first `end` records."""
    reached: dict[int, float] = {}
    for record in records[:end]:
        if isinstance(record, ReportRecord):
            reached[record.trial] = max(record.epoch, reached.get(record.trial, 0.0))
    return sum(reached.values())


# --- search.epochs ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [{}, ASHA, RANK, REST], ids=["none", "asha", "rank", "rest"])
def test_no_trial_starts_once_the_budget_of_epochs_is_used_up(tmp_path: Path, scheduler: Any) -> None:
    given = experiment(search=BUDGET, scheduler=scheduler)
    history = run_alone(given, tmp_path / "a")
    records = list(read_records(tmp_path / "a"))
    (end,) = [at for at, record in enumerate(records) if isinstance(record, SearchEndedRecord)]
    ended = records[end]
    assert ended.by is SearchEndedBy.EPOCHS
    assert ended.epochs == epochs_before(records, end) == history.epochs_run >= 60
    assert ended.trials == len(history.trials)
    starts = [at for at, record in enumerate(records) if isinstance(record, StartedRecord)]
    assert max(starts) < end
    assert all(epochs_before(records, at) < 60 for at in starts)
    assert all(trial.over for trial in history.trials.values())


def test_whichever_comes_first_ends_the_search(tmp_path: Path) -> None:
    few = run_alone(experiment(search=BUDGET | {"trials": 3}), tmp_path / "few")
    assert (len(few.trials), few.search_ended) == (3, None)
    many = run_alone(experiment(search=BUDGET | {"trials": 300}), tmp_path / "many")
    assert len(many.trials) == 7
    assert many.search_ended is not None


@pytest.mark.parametrize(
    ("search", "scheduler", "every"),
    [(BUDGET, ASHA, 7), (BUDGET, REST, 11), (STOP, ASHA, 9), (STOP, REST, 9)],
    ids=["epochs, asha", "epochs, rest", "stop, asha", "stop, rest"],
)
def test_cut_off_after_any_line_it_ends_at_the_same_point(
    tmp_path: Path, search: Any, scheduler: Any, every: int
) -> None:
    whole = run_alone(experiment(search=search, scheduler=scheduler), tmp_path / "whole")
    assert whole.search_ended is not None
    assert assert_the_same_from_everywhere(tmp_path / "whole", tmp_path / "cut", every=every) > 6


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("scheduler", [RANK, REST], ids=["rank", "rest"])
def test_trials_that_run_go_to_their_end_and_those_that_rest_do_not_continue(
    tmp_path: Path, places: int, scheduler: Any
) -> None:
    tune = FakeTune(tmp_path / "a", places=places, search=BUDGET, scheduler=scheduler)
    tune.run()
    assert tune.finished
    end = next(at for at, record in enumerate(tune.events) if isinstance(record, SearchEndedRecord))
    assert not any(isinstance(record, StartedRecord) for record in tune.events[end:])
    assert any(isinstance(record, ReportRecord) for record in tune.events[end:])
    end_resting(tune.rule, tune.recorder, tune.study)
    outcomes = {trial.outcome for trial in tune.recorder.history.trials.values()}
    assert outcomes == {Outcome.COMPLETED, Outcome.PRUNED}


def test_epochs_that_are_repeated_after_a_crash_count_once(tmp_path: Path) -> None:
    history = run_alone(experiment(search=BUDGET), tmp_path / "a")
    ran = history.epochs_run
    again = next(r for r in read_records(tmp_path / "a") if isinstance(r, ReportRecord))
    assert again.epoch == 1.0
    assert history.with_record(again).epochs_run == ran


def test_a_trial_that_continues_another_one_counts_its_own_epochs(tmp_path: Path) -> None:
    history = run_alone(experiment(search=BUDGET), tmp_path / "a")
    ran, first = history.epochs_run, history.trials[0]
    assert first.epoch == 9.0
    parent = Parent(trial=0, state=True, file="f", epochs=12)
    history = history.with_record(StartedRecord(trial=50, params=first.params, hash="h", parent=parent))
    report = next(r for r in read_records(tmp_path / "a") if isinstance(r, ReportRecord))
    history = history.with_record(report.model_copy(update={"trial": 50, "epoch": 11.0}))
    assert history.epochs_run == ran + 2.0


def test_a_larger_budget_extends_a_finished_sweep_as_if_asked_for_at_once(tmp_path: Path) -> None:
    given = experiment(search=BUDGET, scheduler=ASHA)
    short = run_alone(given, tmp_path / "short")
    long = run_alone(experiment(search=BUDGET | {"epochs": 100}, scheduler=ASHA), tmp_path / "long")
    assert len(long.trials) > len(short.trials)
    assert go_on(tmp_path / "short").trials.keys() == short.trials.keys()  # nothing is left to do
    extended = go_on(tmp_path / "short", epochs=100)
    assert {n: t.params for n, t in extended.trials.items()} == {n: t.params for n, t in long.trials.items()}
    assert read_history(tmp_path / "short").search_ended is not None
    assert extended.header.experiment["search"]["epochs"] == 100  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    ("asked", "goes_on"),
    [
        ({"trials": 50}, False),  # there are no epochs left for them
        ({"epochs": 63}, False),
        ({"epochs": 100}, True),
        ({"epochs": 100, "trials": 50}, True),
        ({}, False),
    ],
)
def test_what_extends_a_sweep_whose_budget_is_used_up(
    tmp_path: Path, asked: dict[str, int], goes_on: bool
) -> None:
    given = experiment(search=BUDGET)
    history = run_alone(given, tmp_path / "a")
    assert history.epochs_run == 63
    more = Extension.of(given, history, **{"trials": None, "epochs": None} | asked)
    assert more.goes_on is goes_on
    assert more.asked is bool(asked)
    assert "the budget of 60 epochs is used up (63 were run)" in more.why_finished
    assert more.way_on.startswith("--epochs N")


# --- search.stop ------------------------------------------------------------------------------


def stopped_at(values: list[float | None], **stop: Any) -> int | None:
    """After how many trials, one after the other, a search stops by itself. None for a value: it failed."""
    given = experiment(search={"trials": 100, "stop": stop})
    history = History(ExperimentRecord(name="a", file="", experiment={}))
    recorder = InMemory(history)
    end = SearchEnd(given, recorder)  # type: ignore[arg-type]
    for number, value in enumerate(values):
        if end.reached() is not None:
            return number
        recorder.record(StartedRecord(trial=number, params={}, hash=str(number)))
        outcome = Outcome.FAILED if value is None else Outcome.PRUNED
        recorder.record(EndedRecord(trial=number, outcome=outcome, value=value, epoch=1.0))
    return len(values) if end.reached() is not None else None


class InMemory:
    """A recorder without a file."""

    def __init__(self, history: History) -> None:
        self.history = history

    def record(self, record: Record) -> None:
        self.history = self.history.with_record(record)


@pytest.mark.parametrize(
    ("values", "stop", "expected"),
    [
        ([0.5, 0.6, 0.6, 0.6, 0.6], {"after": 3}, 5),
        ([0.5, 0.6, 0.61, 0.6, 0.6], {"after": 3}, None),
        ([0.5, 0.6, 0.61, 0.6, 0.6], {"after": 3, "gain": 0.02}, 5),
        ([0.5, 0.6, 0.609, 0.618, 0.627, 0.636], {"after": 3, "gain": 0.02}, None),  # small gains add up
        ([0.6, 0.5, 0.5], {"after": 3}, None),  # there is nothing before them
        ([0.6, None, None, None, None], {"after": 3}, None),  # failures say nothing
        ([0.6, None, 0.5, None, 0.4, 0.3], {"after": 3}, 6),
    ],
)
def test_a_search_stops_after_trials_without_a_gain(
    values: list[float | None], stop: dict[str, Any], expected: int | None
) -> None:
    assert stopped_at(values, **stop) == expected


def test_the_reason_is_recorded_before_it_acts_and_resting_trials_still_continue(tmp_path: Path) -> None:
    history = run_alone(experiment(search=STOP, scheduler=REST), tmp_path / "a")
    ended = history.search_ended
    assert ended is not None
    assert ended.by is SearchEndedBy.GAIN
    assert ended.reason.startswith("no gain above 0.02 in the last 8 trials (best map 0.")
    assert len(history.trials) == ended.trials < 60
    records = list(read_records(tmp_path / "a"))
    end = next(at for at, record in enumerate(records) if isinstance(record, SearchEndedRecord))
    before = {record.trial for record in records[:end] if isinstance(record, StartedRecord)}
    after = {record.trial for record in records[end:] if isinstance(record, StartedRecord)}
    assert after <= before  # none is new
    assert after


def test_a_search_that_stopped_by_itself_goes_on_when_asked_and_counts_anew(tmp_path: Path) -> None:
    given = experiment(search=STOP, scheduler=ASHA)
    history = run_alone(given, tmp_path / "a")
    there = len(history.trials)
    assert go_on(tmp_path / "a").trials.keys() == history.trials.keys()
    more = Extension.of(given, history, trials=60, epochs=None)
    assert more.goes_on
    assert more.told is not None
    assert "may stop again once 8 more trials have ended" in more.told
    assert not Extension.of(given, history, trials=there, epochs=None).goes_on
    extended = go_on(tmp_path / "a", trials=60)
    assert there + 8 <= len(extended.trials) <= 60
    assert extended.extended_at == there
    assert extended.search_ended != history.search_ended


@pytest.mark.slow
def test_optunas_terminator_stops_where_little_is_left_to_gain(tmp_path: Path) -> None:
    def search(gain: float) -> dict[str, Any]:
        return {"trials": 12, "seed": 3, "stop": {"terminator": {"gain": gain, "trials": 6}}}

    whole = run_alone(experiment(search=search(10.0), trial={"epochs": 1}), tmp_path / "a")
    assert whole.search_ended is not None
    assert whole.search_ended.by is SearchEndedBy.TERMINATOR
    assert whole.search_ended.trials == len(whole.trials) == 6
    assert "is left to gain by Optuna's regret bound" in whole.search_ended.reason
    cut = cut_off(tmp_path / "a", tmp_path / "b", len(list(read_records(tmp_path / "a"))) - 2)
    assert read_history(cut).search_ended is None
    again = go_on(cut)
    assert again.search_ended is not None
    assert again.search_ended.reason == whole.search_ended.reason
    never = run_alone(experiment(search=search(1e-6), trial={"epochs": 1}), tmp_path / "c")
    assert (len(never.trials), never.search_ended) == (12, None)
