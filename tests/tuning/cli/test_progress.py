from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from recorded import LORA, SCORES, TRIALS, Told, experiment, write
from rich.console import Console

from tuning.cli.board import Board, trials_asked
from tuning.cli.progress import Progress
from tuning.formatting import duration
from tuning.ledger.ledger import read_records
from tuning.ledger.records import Ending, Outcome
from tuning.ranking.best_so_far import Best


def board_of(folder: Path, **how: object) -> Board:
    asked = how.pop("of", None) or experiment(folder.name)
    board = Board(asked, **how)  # type: ignore[arg-type]
    for record in read_records(folder):
        board.observe(record)
    return board


def text_of(board: Board, now: float) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(board.view(now))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def live(tmp_path: Path) -> Path:
    trials = (
        Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (0.3, 0.5, 0.6, 0.7, 0.75, 0.72)),
        Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (0.4, 0.5), Outcome.PRUNED),
        Told(LORA | {"learning_rate": 0.003, "lora.rank": 4}, (0.8, 0.7), None),
    )
    return write(tmp_path / "live", trials, closed=None)


def test_counts_by_state_and_what_is_waiting(live: Path) -> None:
    board = board_of(live)
    assert board.states == {"completed": 1, "pruned": 1, "running": 1, "waiting": 5}
    assert board.ended == 2
    assert board_of(live, of=experiment(trials=3)).states.get("waiting") is None


def test_the_best_so_far_may_be_running(live: Path) -> None:
    assert board_of(live).best == Best(2, 0.8, 2.0)


def test_under_rule_last_only_finished_trials_are_best(tmp_path: Path) -> None:
    asked = experiment("last", rule="last")
    record = write(tmp_path / "last", TRIALS, of=asked)
    assert board_of(record, of=asked).best == Best(0, 0.72, 6.0)


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
    assert "untouched" in text
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


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    record = write(tmp_path / "lines", TRIALS, closed=Ending.FINISHED)
    out = io.StringIO()
    now = [1000.0]
    with Progress(Board(experiment("lines")), Console(file=out, width=200), clock=lambda: now[0]) as progress:
        for entry in read_records(record):
            now[0] = max(now[0], entry.time)
            progress(entry)
    lines = out.getvalue().splitlines()
    assert lines[0] == "[0 s] data ready: 160 train, 32 validation"
    assert "untouched backbone: dice 0.0100" in lines[1]
    assert "[1 min 00 s] trial 0 completed  dice 0.7500  epoch 6 of 6" in lines
    assert any(
        "trial 3 diverged  epoch 1 of 6  (the loss is not finite at epoch 2)" in line for line in lines
    )
    assert any("trial 6 reused of trial 0" in line for line in lines)
    assert sum("best so far" in line for line in lines) == 1
    assert any("images/s" in line for line in lines)


def test_scoring_is_told_one_by_one(tmp_path: Path) -> None:
    record = write(tmp_path / "scored", TRIALS, scores=SCORES, closed=None)
    out = io.StringIO()
    with Progress(Board(experiment("scored")), Console(file=out, width=200)) as progress:
        for entry in read_records(record):
            progress(entry)
            if entry.kind == "scored" and entry.trial == 0:
                assert progress.board.scored == (2, 5)
                assert "scoring 3 of 5 on test images" in progress.board.summary(1200.0)
                assert "scoring 3 of 5 on test images" in text_of(progress.board, 1200.0)
    lines = [line.partition("] ")[2] for line in out.getvalue().splitlines()][-6:]
    assert lines == [
        "the search is over; scoring 5 on test images",
        "scored 1 of 5 on test images: trial 4  dice 0.8000",
        "scored 2 of 5 on test images: trial 0  dice 0.7000",
        "scored 3 of 5 on test images: trial 1  dice 0.9000",
        "trial 2 could not be scored on test images: best.ckpt is gone",
        "scored 5 of 5 on test images: the untouched model  dice 0.0000",
    ]
    assert board_of(record, alive=False).summary(1200.0).count("scoring") == 0


def test_a_live_table_on_a_terminal(live: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with Progress(Board(experiment("live")), console, clock=lambda: 1100.0) as progress:
        for entry in read_records(live):
            progress(entry)
    assert "images/s" in out.getvalue()
    assert "best so far" not in out.getvalue()


def test_lines_on_a_terminal_where_they_are_asked_for(live: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=True)
    with Progress(Board(experiment("live")), console, clock=lambda: 1100.0, live=False) as progress:
        for entry in read_records(live):
            progress(entry)
    assert "best so far" in out.getvalue()


def test_trials_asked_is_bounded_by_the_space() -> None:
    few = experiment(space={"adapter": {"choice": ["lora"]}, "lora.rank": {"choice": [4, 8]}})
    assert trials_asked(few) == 2
    assert trials_asked(experiment()) == 8


@pytest.mark.parametrize(
    ("seconds", "text"), [(48, "48 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (None, "–")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("rule", ["best", "last"])
def test_the_best_is_kept_as_records_come_as_if_all_were_looked_at(tmp_path: Path, rule: str) -> None:
    """Also where the best one diverges, and among equals."""
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
        competing = [t for t in board.history.values() if t.outcome in ranked and t.value is not None]
        best = max(competing, key=lambda t: (t.value, -t.number), default=None)
        assert board.best == (None if best is None else Best(best.number, best.value or 0.0, best.epoch))
        seen.add(board.best)
    assert len(seen) > 2


NEVER = (Outcome.FAILED, Outcome.DIVERGED, Outcome.REUSED)
LASTING = [Outcome.COMPLETED, Outcome.EARLY_STOPPED]
