from __future__ import annotations

import random
from pathlib import Path

import pytest
from boards import board_of, text_of
from recorded import BEFORE, FLOORS, LORA, TRIALS, Told, experiment, write

from tuning.cli.board import Board
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Outcome, SearchEndedBy
from tuning.ledger.records import ResumedRecord, SearchEndedRecord
from tuning.ranking.best_so_far import BestTrial


def test_counts_by_state_and_what_is_waiting(live: Path) -> None:
    board = board_of(live)
    assert board.states == {"completed": 1, "pruned": 1, "running": 1, "waiting": 5}
    assert board.ended == 2
    assert board_of(live, of=experiment(trials=3)).states.get("waiting") is None


def test_the_best_so_far_may_be_running(live: Path) -> None:
    assert board_of(live).best == BestTrial(2, 0.8, 2.0)


def test_a_budget_of_epochs_and_the_end_of_the_search_are_shown(live: Path) -> None:
    asked = experiment(trials=8)
    search = asked.search.model_copy(update={"epochs": 40})
    board = board_of(live, of=asked.model_copy(update={"search": search}))
    assert "10 of 40 epochs run" in board.summary(1100.0)
    # 10 epochs took 100 s. 2 are left of the running trial, and the budget holds 28 more, which 5 trials of 4
    # epochs, as ended ones ran, do not use up.
    assert board.left_s(1100.0) == pytest.approx(220.0)
    board.budget = 22
    assert board.left_s(1100.0) == pytest.approx(120.0)
    ended = SearchEndedRecord(by=SearchEndedBy.GAIN, reason="no gain", trials=3, epochs=10.0, time=1100.0)
    board.observe(ended)
    assert "waiting" not in board.states
    assert board.left_s(1100.0) == pytest.approx(20.0)
    text = " ".join(text_of(board, 1100.0).split())
    assert "budget 10 of 22 epochs run" in text
    assert "search has ended: no gain" in text
    board.observe(ResumedRecord(trials=20, epochs=80, time=1100.0))
    assert (board.search_ended, board.budget) == (None, 80)


def test_brackets_in_a_setting_are_no_style(tmp_path: Path) -> None:
    running = [Told(LORA | {"layers": "[query, value]"}, (0.3,), None)]
    assert "layers=[query, value]" in text_of(board_of(write(tmp_path / "a", running, closed=None)), 1000.0)


def test_the_floor_and_a_best_trial_that_is_no_better_are_shown(tmp_path: Path) -> None:
    lost = [Told(LORA, (0.31,), above_floor=((-0.1, 0.1),))]
    board = board_of(write(tmp_path / "lost", lost, floors=FLOORS))
    assert "(trial 0, collapsed)" in board.summary(1000.0)
    text = " ".join(text_of(board, 1000.0).split())
    assert "floor 0.3000 what the best constant predictor reaches" in text
    assert "collapsed: no better than a constant predictor" in text
    found = [Told(LORA, (0.31,), above_floor=((0.01, 0.1),))]
    board = board_of(write(tmp_path / "found", found, floors=FLOORS))
    assert "(trial 0)" in board.summary(1000.0)
    assert "collapsed" not in text_of(board, 1000.0)
    old = experiment("old", definitions=BEFORE)
    assert "floor" not in text_of(board_of(write(tmp_path / "old", TRIALS, of=old), of=old), 1000.0)


def test_under_rule_last_only_finished_trials_are_best(tmp_path: Path) -> None:
    asked = experiment("last", rule="last")
    record = write(tmp_path / "last", TRIALS, of=asked)
    assert board_of(record, of=asked).best == BestTrial(0, 0.72, 6.0)


def test_throughput_is_that_of_the_last_minute(live: Path) -> None:
    # 160 images every 10 s, the last report at 1100 s.
    assert board_of(live).images_per_s(1100.0) == pytest.approx(16.0)
    assert board_of(live).images_per_s(1130.0) == pytest.approx(3 * 160 / 60)
    assert Board(experiment()).images_per_s(1100.0) is None


def test_time_left_expects_trials_to_run_as_far_as_ended_ones(live: Path) -> None:
    # 10 epochs took 100 s; ended trials ran 4 on average: 2 are left of the running one, 5 · 4 wait.
    assert board_of(live).left_s(1100.0) == pytest.approx(220.0)
    assert Board(experiment()).left_s(1100.0) is None


def test_the_view_shows_running_trials_at_their_epoch(live: Path) -> None:
    text = text_of(board_of(live), 1100.0)
    assert "1 completed  1 pruned  1 running  5 waiting" in text
    assert "0.8000  trial 2  (validation, best report)" in text
    assert "baseline   0.0100  the pretrained model before training" in text
    assert "16 images/s" in text
    assert "about 3 min 40 s left" in text
    assert "2/6" in text
    assert "lora.rank=4" in text


def test_without_a_driver_the_clock_stands_still(live: Path) -> None:
    board = board_of(live, alive=False)
    assert board.states["unfinished"] == 1
    text = text_of(board, 9999.0)
    assert "1 min 40 s so far  died" in text
    assert "left" not in text


def test_many_running_trials_are_cut_short(tmp_path: Path) -> None:
    record = write(tmp_path / "many", [Told(LORA, (0.1,), None)] * 20, closed=None)
    assert "… and 8 more" in text_of(board_of(record), 2000.0)


def test_a_restarted_trial_runs_again(live: Path) -> None:
    board = board_of(live)
    started = next(r for r in read_records(live) if r.kind == "started" and r.trial == 0)
    board.observe(started)
    assert board.states["running"] == 2


@pytest.mark.parametrize("rule", ["best", "last"])
def test_the_best_is_kept_as_records_come_as_if_all_were_looked_at(tmp_path: Path, rule: str) -> None:
    """Also if the best trial diverges, and with equal values."""
    rng = random.Random(5)
    outcomes = [*Outcome, None]
    trials = tuple(
        Told(LORA, tuple(round(rng.random(), 1) for _ in range(rng.randrange(4))), rng.choice(outcomes))
        for _ in range(60)
    )
    asked = experiment("many", rule=rule)
    board = Board(asked)
    ranked = {"best": [o for o in Outcome if o not in NEVER] + [None], "last": LASTING}[rule]
    seen = set()
    for record in read_records(write(tmp_path / "many", trials, of=asked)):
        board.observe(record)
        competing = [t for t in board.trials.values() if t.outcome in ranked and t.value is not None]
        best = max(competing, key=lambda t: (t.value, -t.number), default=None)
        assert board.best == (None if best is None else BestTrial(best.number, best.value or 0.0, best.epoch))
        seen.add(board.best)
    assert len(seen) > 2


NEVER = (Outcome.FAILED, Outcome.DIVERGED, Outcome.REUSED)


LASTING = [Outcome.COMPLETED, Outcome.EARLY_STOPPED]


def test_with_several_objectives_the_front_is_shown_as_it_stands(tmp_path: Path) -> None:
    asked = experiment("two", further=[{"metric": "parameters"}], constraints={"peak_mb": {"at_most": 100}})
    kept = [(0.5, 900.0, 50.0), (0.4, 100.0, 50.0), (0.3, 500.0, 50.0), (0.9, 10.0, 200.0)]
    told = [
        Told(
            LORA | {"learning_rate": 0.001 + dice / 1000},
            (dice,),
            values={"dice": dice, "parameters": count, "peak_mb": peak},
            broken=["peak_mb"] if peak > 100 else [],
        )
        for dice, count, peak in kept
    ]
    board = board_of(write(tmp_path / "two", told, of=asked), of=asked)
    assert board.best == BestTrial(0, 0.5, 1.0)
    assert "2 trials on the front" in board.summary(1000.0)
    text = " ".join(text_of(board, 1000.0).split())
    assert "front trial 0 dice 0.5000 parameters 900 trial 1 dice 0.4000 parameters 100" in text
    assert "constraints peak_mb at most 100 1 trial outside" in text
    assert board_of(write(tmp_path / "one")).weighed is None
