"""A search that ends before its number of trials: when, and the same after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lone_worker import assert_the_same_from_everywhere, go_on, run_alone
from scripted import experiment
from scripted_pack import FakeTune

from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.records import (
    Outcome,
    Record,
    ReportRecord,
    SearchEndedBy,
    SearchEndedRecord,
    StartedRecord,
)
from tuning.run.stopping.extension import Extension
from tuning.run.stopping.resting import end_resting

ASHA = {"asha": {"rule": "threshold"}}
RANK = {"asha": {"rule": "rank"}}
REST = {"asha": {"rule": "rank", "rest": True}}
BUDGET: dict[str, Any] = {"epochs": 60, "seed": 3, "tpe": {"startup_trials": 3}}


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


@pytest.mark.parametrize("scheduler", [ASHA, REST], ids=["asha", "rest"])
def test_cut_off_after_any_line_it_ends_at_the_same_point(tmp_path: Path, scheduler: Any) -> None:
    run_alone(experiment(search=BUDGET, scheduler=scheduler), tmp_path / "whole")
    assert assert_the_same_from_everywhere(tmp_path / "whole", tmp_path / "cut", every=7) > 12


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
