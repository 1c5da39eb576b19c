"""Resuming with wrong files, disks, requests or clocks. See docs/explanation/reliability.md."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edited_records import edit_record
from marks import slow
from rich.console import Console
from scripted import Scripted, essence, experiment
from small_disk import SmallDisk, small_disk

from trainables.errors import LedgerError, StorageError
from tuning.cli.board import Board
from tuning.cli.progress import Progress
from tuning.ledger.driver_state import LOCK, DriverState, driver_alive, driver_state
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import BuiltRecord, Record, ReportRecord, StartedRecord, UnsavedRecord
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment

ROOT = Path(__file__).parents[3]
PARTS: dict[str, Any] = {
    "search": {"trials": 6, "seed": 5, "tpe": {"startup_trials": 3}},
    "scheduler": {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}},
    "resources": {"concurrent": 1},
}


pytestmark = pytest.mark.usefixtures("ray_once")


def launched(storage: Path, prepared: Path, trainable: type[Any] = Scripted, **how: Any) -> LaunchResult:
    return launch_experiment(
        experiment(**PARTS), storage, trainable=trainable, prepare=lambda _: prepared, **how
    )


def resumed(folder: Path, prepared: Path, **how: Any) -> LaunchResult:
    return resume_experiment(folder, trainable=Scripted, prepare=lambda _: prepared, **how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of an uninterrupted sweep."""
    return launched(tmp_path_factory.mktemp("whole"), prepared).folder


def lines_of(folder: Path) -> list[bytes]:
    return (folder / LEDGER).read_bytes().splitlines(keepends=True)


def cut(whole: Path, storage: Path, lines: int = 25) -> Path:
    """A copy of the experiment as a driver that died after so many records would leave it."""
    folder = storage / whole.name
    folder.mkdir(parents=True)
    (folder / LEDGER).write_bytes(b"".join(lines_of(whole)[:lines]))
    return folder


# --- the record -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param(b'{"time":17.5,"kind":"report","tri', id="half a record"),
        slow(b'{"kind":"closed","reason":"finished"}', id="without its line's end"),
        slow(bytes(700), id="zeros, as a power cut leaves them"),
        slow(b"\xff\xfe\x00{", id="no text"),
    ],
)
def test_a_torn_last_line_is_cut_off_and_the_sweep_goes_on(
    whole: Path, tmp_path: Path, prepared: Path, torn: bytes
) -> None:
    folder = cut(whole, tmp_path)
    with (folder / LEDGER).open("ab") as file:
        file.write(torn)
    assert driver_alive(folder) is False
    assert len(list(read_records(folder))) == 25  # readers ignore it, and change nothing
    assert (folder / LEDGER).read_bytes().endswith(torn)
    resumed(folder, prepared)
    assert torn not in (folder / LEDGER).read_bytes()
    assert essence(folder) == essence(whole)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda line: line[: len(line) // 2] + b"\n", id="half of it"),
        pytest.param(lambda line: bytes(len(line) - 1) + b"\n", id="zeros"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_changed_or_guessed(
    whole: Path, tmp_path: Path, prepared: Path, damage: Callable[[bytes], bytes]
) -> None:
    folder = cut(whole, tmp_path)
    lines = lines_of(folder)
    number = next(i for i, r in enumerate(read_records(folder)) if isinstance(r, BuiltRecord))
    damaged = b"".join([*lines[:number], damage(lines[number]), *lines[number + 1 :]])
    (folder / LEDGER).write_bytes(damaged)
    for read in (read_history, lambda folder: resumed(folder, prepared)):
        with pytest.raises(LedgerError, match=rf"line {number + 1} is damaged: .*adaptertune repair"):
            read(folder)
    assert (folder / LEDGER).read_bytes() == damaged
    assert not driver_alive(folder)
    (folder / LEDGER).write_bytes(b"".join([*lines[:number], *lines[number + 1 :]]))
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)


def test_a_result_that_was_about_to_be_reused_is_reused(whole: Path, tmp_path: Path, prepared: Path) -> None:
    """Cut between the line that draws a configuration again and the line with the value that it reuses."""
    folder = cut(whole, tmp_path, lines=len(lines_of(whole)))
    first = read_history(folder).trials[0]
    with Ledger.open(folder) as ledger:
        ledger.append(StartedRecord(trial=6, params=dict(first.params), hash=first.hash))
    resumed(folder, prepared)
    again = read_history(folder).trials[6]
    assert again.ended is not None
    assert (again.outcome, again.ended.of, again.value) == (Outcome.REUSED, 0, first.value)
    assert again.reports == ()
    assert essence(folder)[:6] == essence(whole)


def test_a_driver_that_died_with_nothing_left_to_run_is_closed_in_good_order(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    """Cut at the very end: without the last line, and also without the end of the last trial."""
    for missing in (1, 2):
        folder = cut(whole, tmp_path / str(missing), lines=len(lines_of(whole)) - missing)
        assert resumed(folder, prepared).outcome is Ending.FINISHED
        assert essence(folder) == essence(whole)
        closed = read_history(folder).closed
        assert closed is not None
        assert closed.reason is Ending.FINISHED


# --- the lock ---------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from tuning.ledger.ledger import Ledger
with Ledger.open(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_left_by_a_killed_driver_holds_nobody_up(whole: Path, tmp_path: Path, prepared: Path) -> None:
    folder = cut(whole, tmp_path)
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "held\n"
        assert driver_alive(folder)
        with pytest.raises(LedgerError, match="another driver is running"):
            resumed(folder, prepared)
        driver.send_signal(signal.SIGKILL)
    assert (folder / LOCK).exists()
    assert not driver_alive(folder)
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)


def test_requests_that_no_driver_lived_to_hear_are_forgotten(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    folder = cut(whole, tmp_path)
    left = [folder / "control" / name for name in ("stop", "stop-3", "halt")]
    left += [folder / "trials" / "0003" / "halted", folder / "baseline.claimed"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / LOCK).write_text("4711\n")
    assert resumed(folder, prepared).outcome is Ending.FINISHED
    assert essence(folder) == essence(whole)
    assert [path for path in left if path.exists() and path.name != "baseline.claimed"] == []


# --- the disk ---------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_kb=512) as mounted:
        yield mounted


def test_a_disk_full_to_the_last_byte_ends_the_sweep_and_it_goes_on_once_there_is_room(
    whole: Path, disk: SmallDisk, prepared: Path
) -> None:
    seen: list[Record] = []

    def fill(record: Record) -> None:
        seen.append(record)
        if isinstance(record, ReportRecord) and record.trial >= 1:
            disk.fill()

    with pytest.raises(StorageError, match=r"the disk is full; what was recorded so far is kept"):
        launched(disk.path, prepared, on_event=fill)
    folder = disk.path / "sweep"
    assert list(read_records(folder))[1:] == seen  # only what is in the record had an effect
    # What still fits into the last page of the record is written, so a few trials more may be over.
    assert sum(trial.over for trial in read_history(folder).trials.values()) < len(read_history(whole).trials)
    with pytest.raises(StorageError, match="the disk is full"):
        resumed(folder, prepared)
    disk.free_space()
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)


def test_a_read_only_disk_refuses_drivers_in_plain_words_and_readers_not_at_all(
    whole: Path, disk: SmallDisk, prepared: Path, tmp_path: Path
) -> None:
    folder = cut(whole, disk.path)
    before = (folder / LEDGER).read_bytes()
    disk.read_only()
    for storage in (disk.path, disk.path / "other"):
        with pytest.raises(StorageError, match="the disk is read-only"):
            launch_experiment(
                experiment(name="new", **PARTS), storage, trainable=Scripted, prepare=lambda _: prepared
            )
    with pytest.raises(StorageError, match="the disk is read-only"):
        resumed(folder, prepared)
    assert driver_state(folder) is DriverState.UNKNOWN  # the disk may be writable elsewhere
    assert (folder / LEDGER).read_bytes() == before
    for arguments in (["status", "sweep"], ["best", "sweep", "--format", "json"], ["list"]):
        command = [sys.executable, "-m", "tuning.cli", *arguments, "--storage", str(disk.path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    disk.read_only(False)
    resumed(folder, prepared)
    assert essence(folder) == essence(whole)


class OnAFullDisk(Scripted):
    """Reports at its second report that its checkpoint could not be written."""

    def step(self) -> dict[str, Any]:
        result = super().step()
        full = self.reports == 2 and self.job.trial == 0
        return result | {"unsaved": "last.ckpt: the disk is full" if full else None}


def test_a_checkpoint_that_could_not_be_written_is_said_and_changes_nothing_else(
    whole: Path, tmp_path: Path, prepared: Path
) -> None:
    board, screen = Board(experiment(**PARTS)), io.StringIO()
    shown: list[str] = []

    def look(record: Record) -> None:
        progress(record)
        if isinstance(record, UnsavedRecord):
            Console(file=(view := io.StringIO()), width=200).print(board.view(record.time))
            shown.append(view.getvalue())

    progress = Progress(board, Console(file=screen, width=200))
    result = launched(tmp_path, prepared, OnAFullDisk, on_event=look)
    assert "trial 0 could not be saved and continues: last.ckpt: the disk is full" in screen.getvalue()
    assert ["not saved" in view for view in shown] == [True]
    assert sum(isinstance(record, UnsavedRecord) for record in read_records(result.folder)) == 1
    assert essence(result.folder) == essence(whole)


# --- the clock --------------------------------------------------------------------------------


def with_times(folder: Path, time_of: Callable[[int], float]) -> None:
    def edit(text: str) -> str:
        lines = [json.loads(line) | {"time": time_of(i)} for i, line in enumerate(text.splitlines())]
        return "".join(json.dumps(line) + "\n" for line in lines)

    edit_record(folder, edit)


@pytest.mark.parametrize(
    "time_of",
    [
        slow(lambda i: 4e9 + i, id="set back before it was resumed"),
        pytest.param(lambda i: 1e9 - 3600.0 * i, id="set back at each record"),
        slow(lambda i: 0.0, id="stood still"),
    ],
)
def test_a_clock_that_goes_back_changes_nothing_but_the_times_shown(
    whole: Path, tmp_path: Path, prepared: Path, time_of: Callable[[int], float]
) -> None:
    folder = cut(whole, tmp_path)
    with_times(folder, time_of)
    board, screen = Board(experiment_of(read_history(folder).header)), io.StringIO()
    for record in read_records(folder):
        board.observe(record)
    with Progress(board, Console(file=screen, width=200)) as progress:
        resumed(folder, prepared, on_event=progress)
    assert essence(folder) == essence(whole)
    last = board.trials[5]
    assert f"trial 5 {last.outcome}" in screen.getvalue()
    for line in screen.getvalue().splitlines():
        assert not line.startswith("[-"), line
    assert board.elapsed_s(0.0) >= 0
    board.view(0.0)
    assert board.states == {str(o): n for o, n in _counts(folder).items()}


def _counts(folder: Path) -> dict[Outcome | None, int]:
    found: dict[Outcome | None, int] = {}
    for trial in read_history(folder).trials.values():
        found[trial.outcome] = found.get(trial.outcome, 0) + 1
    return found


def test_the_sweep_under_test_is_cut_off_in_the_middle(whole: Path) -> None:
    records = list(read_records(whole))
    started = [sum(isinstance(r, StartedRecord) for r in part) for part in (records[:25], records)]
    assert 1 <= started[0] < started[1] == 6
    assert set(_counts(whole)) == {Outcome.COMPLETED, Outcome.PRUNED}
