"""Whether a driver runs: by its lock, its own word, its process or its heartbeat, as each reader sees it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from elsewhere import forget_lock, newest_beat, on_another_machine, read_only, silence
from recorded import write

from tuning.ledger.attempts import FOLDER
from tuning.ledger.driver_state import (
    SILENT_S,
    DriverState,
    DriverWatch,
    driver_alive,
    driver_state,
    driver_states,
    wait_until_gone,
)
from tuning.ledger.ledger import Ledger

RUNNING, ENDED, DIED, UNKNOWN = DriverState


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "digits", closed=None)


def never(seconds: float) -> None:
    raise AssertionError("it waits, though one look tells")


@contextmanager
def a_driver(folder: Path, *, elsewhere: bool = False, locks: bool = True) -> Iterator[Ledger]:
    """A driver that runs: on another machine, or on a file system without locks."""
    with ExitStack() as stack:
        with on_another_machine() if elsewhere else ExitStack():
            ledger = stack.enter_context(Ledger.open(folder))
        if elsewhere or not locks:
            forget_lock(folder)
        yield ledger


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("reading_only", [False, True])
@pytest.mark.parametrize("locks", [False, True])
def test_a_driver_that_runs_is_seen_by_everybody(
    folder: Path, *, elsewhere: bool, reading_only: bool, locks: bool
) -> None:
    with (
        a_driver(folder, elsewhere=elsewhere, locks=locks),
        read_only() if reading_only else ExitStack(),
    ):
        assert driver_state(folder, never) is RUNNING
        assert driver_alive(folder, never)
    assert driver_state(folder, never) is ENDED
    assert not driver_alive(folder, never)


def left_by_a_dead_driver(folder: Path, *, elsewhere: bool) -> None:
    """What is left of a driver that was killed: the heartbeat is old, the process gone."""
    with a_driver(folder, elsewhere=elsewhere):
        claim = folder / FOLDER / "000002.json"
        said, beat = claim.read_text(), newest_beat(folder).read_text()
    newest_beat(folder).write_text(beat)
    began = said.index('"began": ') + len('"began": ')
    claim.write_text(said[:began] + "1" + said[began:])
    silence(folder)


def test_a_driver_of_this_machine_that_died_is_seen_at_once_by_who_can_write(folder: Path) -> None:
    left_by_a_dead_driver(folder, elsewhere=False)
    assert driver_state(folder, never) is DIED
    with read_only():
        assert driver_state(folder, never) is UNKNOWN


def test_a_driver_elsewhere_that_is_silent_died_for_who_can_write_and_is_unknown_to_others(
    folder: Path,
) -> None:
    left_by_a_dead_driver(folder, elsewhere=True)
    assert driver_state(folder, never) is DIED
    waits: list[float] = []
    with read_only():
        assert driver_state(folder, waits.append) is UNKNOWN
        assert len(waits) == 1
        assert driver_alive(folder, waits.append)


def test_a_reader_whose_clock_is_wrong_sees_that_the_heartbeat_goes_on(folder: Path) -> None:
    left_by_a_dead_driver(folder, elsewhere=True)

    def beats(seconds: float) -> None:
        newest_beat(folder).write_text("77\n")
        silence(folder)

    with read_only():
        assert driver_state(folder, beats) is RUNNING


def test_several_experiments_are_waited_for_once(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, closed=None) for name in "abc"]
    for each in folders[:2]:
        left_by_a_dead_driver(each, elsewhere=True)
    waits: list[float] = []
    with read_only():
        found = driver_states(folders, waits.append)
    assert [*found.values()] == [UNKNOWN, UNKNOWN, ENDED]
    assert len(waits) == 1


def test_a_watch_never_waits_and_says_unknown_once_nothing_changes(folder: Path) -> None:
    left_by_a_dead_driver(folder, elsewhere=True)
    watch = DriverWatch(folder)
    with read_only():
        assert [watch.state() for _ in range(3)] == [UNKNOWN] * 3
        newest_beat(folder).write_text("78\n")
        silence(folder)
        assert [watch.state() for _ in range(5)] == [RUNNING, RUNNING, RUNNING, UNKNOWN, UNKNOWN]
    assert watch.state() is DIED


def test_a_record_of_before_has_only_the_lock(folder: Path) -> None:
    shutil.rmtree(folder / FOLDER)
    assert driver_state(folder, never) is DIED
    with read_only():
        assert driver_state(folder, never) is UNKNOWN


def test_a_copy_of_an_experiment_that_runs_does_not_run(folder: Path) -> None:
    with a_driver(folder):
        copy = Path(shutil.copytree(folder, folder.with_name("copy")))
        assert driver_state(copy, never) is ENDED
        Ledger.open(copy).close()


def test_a_driver_waits_for_one_elsewhere_only_as_long_as_that_may_live(folder: Path) -> None:
    left_by_a_dead_driver(folder, elsewhere=True)
    assert wait_until_gone(folder, never)
    silence(folder, -3600.0)  # it beat a moment ago
    waited: list[float] = []

    def time_passes(seconds: float) -> None:
        waited.append(seconds)
        silence(folder, seconds)

    assert wait_until_gone(folder, time_passes)
    assert sum(waited) == pytest.approx(SILENT_S, abs=2.5)


def test_a_driver_that_beats_while_it_is_waited_for_runs(folder: Path) -> None:
    left_by_a_dead_driver(folder, elsewhere=True)
    silence(folder, -3600.0)
    assert not wait_until_gone(folder, lambda seconds: _beat(folder))


def _beat(folder: Path) -> None:
    newest_beat(folder).write_text("99\n")
