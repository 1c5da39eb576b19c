from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from boards import board_of, text_of
from recorded import AFTER, FLOORS, LORA, SCORES, TRIALS, Told, experiment, write
from rich.console import Console

from trainables.specs.pack import WhyLanes
from tuning.cli.board import Board
from tuning.cli.console import LastingConsole
from tuning.cli.progress import FIRST_LINE_S, QUIET_S, STARTING_S, Progress
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Ending
from tuning.ledger.records import PackingRecord, PreparedRecord


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
    assert "pretrained baseline: dice 0.0100" in lines[1]
    assert "[1 min 00 s] trial 0 completed  dice 0.7500  epoch 6 of 6" in lines
    assert any(
        "trial 3 diverged  epoch 1 of 6  (the loss is not finite at epoch 2)" in line for line in lines
    )
    assert any("trial 6 reused of trial 0" in line for line in lines)
    assert sum("best so far" in line for line in lines) == 1
    assert any("images/s" in line for line in lines)


def test_what_lies_in_a_folder_is_said_before_its_counts() -> None:
    out = io.StringIO()
    record = PreparedRecord(fingerprint="x", counts={"train": 3}, found="COCO JSON: train a.json", time=1.0)
    with Progress(Board(experiment("a")), Console(file=out, width=200), clock=lambda: 1.0) as progress:
        progress(record)
    assert "data.folder: COCO JSON: train a.json" in out.getvalue().splitlines()[0]
    assert "data ready: 3 train" in out.getvalue().splitlines()[1]


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
        "the search has ended; scoring 5 on test images",
        "scored 1 of 5 on test images: trial 4  dice 0.8000",
        "scored 2 of 5 on test images: trial 0  dice 0.7000",
        "scored 3 of 5 on test images: trial 1  dice 0.9000",
        "trial 2 could not be scored on test images: best.ckpt is gone",
        "scored 5 of 5 on test images: the pretrained baseline  dice 0.0000",
    ]
    assert board_of(record, alive=False).summary(1200.0).count("scoring") == 0


GAIN = PackingRecord(group="g", lanes=8, why=WhyLanes.IMAGES, timed=8, together_ms=2.0, alone_ms=3.2)


@pytest.mark.parametrize("terminal", [False, True])
def test_how_many_trials_a_worker_takes_is_said_once_its_gain_is_known(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=terminal)
    with Progress(Board(experiment("packs")), console, clock=lambda: 1000.0) as progress:
        progress(PackingRecord(group="g", lanes=8, why=WhyLanes.IMAGES, lane_mb=3.0))
        progress(GAIN)
        progress(GAIN.model_copy(update={"group": "h"}))
        progress(PackingRecord(group="h", lanes=2, why=WhyLanes.OUT_OF_MEMORY))
    lines = [line.partition("packing: ")[2] for line in out.getvalue().splitlines() if "packing" in line]
    assert lines == [
        "8 trials at once in a worker (more images in flight on a thread gain little);"
        " 1.6× the speed of one at a time (2.0 against 3.2 ms a trial's step, 8 trials)",
        "2 trials at once in a worker (memory ran out with more)",
    ]


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


def test_a_reader_that_ends_does_not_end_the_sweep(live: Path) -> None:
    """As `adaptertune launch FILE | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        console = LastingConsole(file=pipe, width=200)
        with Progress(Board(experiment("live")), console, clock=lambda: 1100.0) as progress:
            for entry in read_records(live):
                progress(entry)
        assert console.quiet
        assert progress.board.trials


def silent(*, terminal: bool = False) -> tuple[Progress, list[float], io.StringIO]:
    """A progress whose clock is moved by hand, and whose thread is not started."""
    out, now = io.StringIO(), [1000.0]
    console = Console(file=out, width=200, force_terminal=terminal, color_system=None)
    return Progress(Board(experiment("slow")), console, clock=lambda: now[0]), now, out


def test_while_ray_starts_and_data_are_prepared_it_is_said_what_is_waited_for() -> None:
    progress, now, out = silent()
    progress.beat()
    assert not out.getvalue()  # most sweeps start at once
    for seconds in (FIRST_LINE_S, 30.0, FIRST_LINE_S + STARTING_S):
        now[0] = 1000.0 + seconds
        progress.beat()
    assert out.getvalue().splitlines() == [
        "[3 s] starting Ray and preparing the data",
        "[1 min 03 s] still starting Ray and preparing the data",
    ]


def test_on_a_terminal_it_is_said_once_because_the_preparation_has_a_bar() -> None:
    progress, now, out = silent(terminal=True)
    for seconds in (FIRST_LINE_S, 200.0, 400.0):
        now[0] = 1000.0 + seconds
        progress.beat()
    assert out.getvalue().count("starting Ray") == 1


def test_while_images_are_scored_there_is_a_line_now_and_then(tmp_path: Path) -> None:
    record = write(tmp_path / "slow", TRIALS, scores=SCORES, closed=None)
    progress, now, out = silent()
    for entry in read_records(record):
        now[0] = max(now[0], entry.time)
        progress(entry)
        if entry.kind == "scored" and entry.trial == 0:
            break
    before = len(out.getvalue().splitlines())
    progress.beat()
    assert len(out.getvalue().splitlines()) == before  # something was said just now
    now[0] += QUIET_S
    progress.beat()
    assert "scoring 3 of 5 on test images" in out.getvalue().splitlines()[-1]


def test_after_the_end_nothing_more_is_said(tmp_path: Path) -> None:
    record = write(tmp_path / "slow", TRIALS, closed=Ending.FINISHED)
    progress, now, out = silent()
    for entry in read_records(record):
        progress(entry)
    before = out.getvalue()
    now[0] += 1e6
    progress.beat()
    assert out.getvalue() == before


@pytest.mark.parametrize(("low", "marked"), [(-0.1, True), (0.1, False)])
def test_the_best_so_far_says_whether_it_has_collapsed(tmp_path: Path, low: float, marked: bool) -> None:
    told = Told(LORA, (0.31,), above_floor=[(low, 0.2)])
    asked = experiment("lost", definitions=AFTER)
    record = write(tmp_path / "lost", (told,), of=asked, floors=FLOORS)
    out = io.StringIO()
    with Progress(Board(asked), Console(file=out, width=200)) as progress:
        for entry in read_records(record):
            progress(entry)
    (line,) = [line for line in out.getvalue().splitlines() if "best so far" in line]
    assert line.endswith("dice 0.3100, trial 0" + (", collapsed" if marked else ""))
