"""A driver that takes over from one that runs, beats without stopping, or is frozen and holds the lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.errors import LedgerError, SupersededError
from tuning.ledger.attempts import Attempt, beat_file
from tuning.ledger.driver_state import STOPS_WITHIN_S, DriverState, driver_state
from tuning.ledger.ledger import LEDGER, Ledger, read_records
from tuning.ledger.records import ExperimentRecord, StartedRecord

HEADER = ExperimentRecord(name="a", file="name: a\n", experiment={"name": "a"})
STARTED = StartedRecord(trial=0, params={"learning_rate": 1e-4}, hash="h0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a"


@pytest.fixture
def first(folder: Path) -> Iterator[Ledger]:
    """The driver that runs, and holds the lock."""
    with Ledger.create(folder, HEADER) as ledger:
        yield ledger


def never(seconds: float) -> None:
    raise AssertionError("it waits, though one look tells")


def fall_silent(folder: Path) -> None:
    """The first driver has been frozen for an hour."""
    os.utime(beat_file(folder, 1), (0.0, 0.0))


def test_it_waits_until_the_other_one_has_seen_it_and_stopped(folder: Path, first: Ledger) -> None:
    waits: list[float] = []

    def stop_soon(seconds: float) -> None:
        waits.append(seconds)
        assert first.superseded()
        if len(waits) == 3:
            first.close()

    with Ledger.open(folder, stop_soon, take_over=True) as second:
        assert (len(waits), second.attempt) == (3, 2)
        second.append(STARTED)
    assert list(read_records(folder)) == [HEADER, STARTED]


def test_what_the_other_one_writes_until_it_stops_is_kept(folder: Path, first: Ledger) -> None:
    def write_and_stop(seconds: float) -> None:
        with (folder / LEDGER).open("ab") as file:  # it had looked just before the claim
            file.write(b'{"kind":"start')
        first.close()

    with Ledger.open(folder, write_and_stop, take_over=True) as second:
        second.append(STARTED)
    assert list(read_records(folder)) == [HEADER, STARTED]  # but for a torn line


def test_a_frozen_one_that_holds_the_lock_writes_nothing_when_it_thaws(folder: Path, first: Ledger) -> None:
    fall_silent(folder)
    with Ledger.open(folder, never, take_over=True) as second:
        second.append(STARTED)
        with pytest.raises(SupersededError, match=r"attempt 1, may write no more: .* attempt 2"):
            first.append(STARTED)
        first.close()
        assert driver_state(folder, never) is DriverState.RUNNING
        with pytest.raises(LedgerError, match="another driver is running"):
            Ledger.open(folder, never)
    assert driver_state(folder, never) is DriverState.ENDED
    assert list(read_records(folder)) == [HEADER, STARTED]
    Ledger.open(folder, never).close()


def test_one_that_beats_but_does_not_stop_is_waited_for_only_so_long(folder: Path, first: Ledger) -> None:
    waits: list[float] = []

    def beat(seconds: float) -> None:
        waits.append(seconds)
        beat_file(folder, 1).touch()

    with Ledger.open(folder, beat, take_over=True):
        assert sum(waits) == STOPS_WITHIN_S
    with pytest.raises(SupersededError):
        first.append(STARTED)


def test_of_two_that_take_over_the_later_one_goes_on(folder: Path, first: Ledger) -> None:
    def another(seconds: float) -> None:
        Attempt.claim(folder).end()
        first.close()

    with pytest.raises(LedgerError, match="another driver is running"):
        Ledger.open(folder, another, take_over=True)
    with Ledger.open(folder, never, take_over=True) as last:
        assert last.attempt == 4


def test_a_damaged_record_costs_no_driver(folder: Path, first: Ledger) -> None:
    with (folder / LEDGER).open("ab") as file:
        file.write(b"not a record\n")
    with pytest.raises(LedgerError, match="line 2"):
        Ledger.open(folder, never, take_over=True)
    assert not (folder / "attempts" / "000002.json").exists()


def test_a_driver_of_before_attempts_were_counted_is_not_taken_over(folder: Path, first: Ledger) -> None:
    for name in ("000001.json", "000001.beat"):
        (folder / "attempts" / name).unlink()
    with pytest.raises(LedgerError, match="another driver is running"):
        Ledger.open(folder, never, take_over=True)


def test_without_a_driver_there_is_nothing_to_wait_for(folder: Path) -> None:
    Ledger.create(folder, HEADER).close()
    with Ledger.open(folder, never, take_over=True) as second:
        assert second.attempt == 2
