from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from elsewhere import on_another_machine

from trainables.errors import LedgerError
from tuning.ledger import attempts
from tuning.ledger.attempts import ENDED, FOLDER, Attempt, Process, beat_file, claim_file, newest_claim
from tuning.ledger.driver_state import DriverState, driver_state
from tuning.ledger.ledger import LEDGER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / LEDGER).touch()
    return tmp_path


def test_the_name_of_the_record_is_that_of_the_ledger() -> None:
    assert attempts._RECORD == LEDGER


def test_numbers_are_claimed_one_after_the_other_and_a_newer_one_is_seen(folder: Path) -> None:
    assert newest_claim(folder) is None
    first = Attempt.claim(folder)
    assert (first.number, first.superseded()) == (1, False)
    second = Attempt.claim(folder)
    assert (second.number, first.superseded(), second.superseded()) == (2, True, False)
    third = Attempt.claim(folder, above=6)  # the record names one whose file is gone
    assert third.number == 7
    claim = newest_claim(folder)
    assert claim is not None
    assert (claim.number, claim.driver, claim.of_copy) == (7, Process.this(), False)
    for attempt in (first, second, third):
        attempt.end()
        attempt.end()


def test_of_many_that_claim_at_once_each_number_has_one(folder: Path) -> None:
    claimed: list[int] = []
    together = threading.Barrier(8)

    def claim() -> None:
        together.wait()
        try:
            attempt = Attempt.claim(folder)
        except LedgerError:
            return
        claimed.append(attempt.number)
        attempt.end()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claimed
    assert len(set(claimed)) == len(claimed)


def test_a_claim_that_is_lost_to_another_process_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Attempt.claim(folder).end()
    monkeypatch.setattr(attempts, "_numbers", lambda folder: [])  # the other one comes after this look
    with pytest.raises(LedgerError, match="has just started"):
        Attempt.claim(folder)


def test_the_heartbeat_changes_until_the_driver_ends(folder: Path) -> None:
    attempt = Attempt.claim(folder, beat_s=0.01)
    beat, seen = beat_file(folder, 1), set[str]()
    while len(seen) < 4:
        seen.add(beat.read_text())
    attempt.end()
    assert beat.read_text().strip() == ENDED


def test_a_heartbeat_that_cannot_be_written_ends_nothing(folder: Path) -> None:
    attempt = Attempt.claim(folder, beat_s=0.01)
    beat_file(folder, 1).unlink()
    claim_file(folder, 1).unlink()
    (folder / attempts.FOLDER).rmdir()
    attempt.end()
    assert newest_claim(folder) is None


def test_a_process_of_this_machine_is_seen_to_live_and_to_die() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = Process(Process.this().host, child.pid, attempts.this_machine(), attempts._began(child.pid))
    assert seen.alive() is True
    with on_another_machine():
        assert seen.alive() is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert seen.alive() is False  # not yet waited for
    child.communicate()
    assert seen.alive() is False


def test_another_process_with_the_same_number_is_not_the_driver() -> None:
    here = Process.this()
    assert here.alive() is True
    assert here.began is not None
    assert Process(here.host, here.pid, here.machine, here.began - 1).alive() is False
    assert Process(here.host, here.pid).alive() is None


@pytest.mark.parametrize("text", ["", "{", '{"driver": {"host": 3}}', "[]", '{"driver": 1, "record": 2}'])
def test_a_claim_that_cannot_be_read_still_counts(folder: Path, text: str) -> None:
    Attempt.claim(folder).end()
    claim_file(folder, 1).write_text(text)
    claim = newest_claim(folder)
    assert claim is not None
    assert (claim.number, claim.driver) == (1, None)


def test_a_claim_that_a_full_disk_cuts_off_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, *_: Any, **__: Any) -> Any:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    Attempt.claim(folder).end()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", full)
        with pytest.raises(OSError, match="No space left"):
            Attempt.claim(folder)
    claim = newest_claim(folder)
    assert claim is not None
    assert (claim.number, claim.driver) == (1, Process.this())
    assert driver_state(folder) is DriverState.ENDED  # the next one has nobody to wait for
    assert sorted(file.name for file in (folder / FOLDER).iterdir()) == ["000001.beat", "000001.json"]
