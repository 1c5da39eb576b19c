"""Drivers and readers on other machines, simulated: what tells machines apart is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tuning.ledger.attempts import beat_file, newest_claim


@contextmanager
def on_another_machine(name: str = "other") -> Iterator[None]:
    """What claims or looks within is on a machine of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuning.ledger.attempts.this_machine", lambda: name)
        yield


def forget_lock(folder: Path) -> None:
    """Remove the lock of a driver that runs, as a cleaning script or a network file system may do."""
    (folder / "driver.lock").unlink()


def newest_beat(folder: Path) -> Path:
    """The heartbeat of the newest attempt."""
    claim = newest_claim(folder)
    assert claim is not None
    return beat_file(folder, claim.number)


def silence(folder: Path, seconds: float = 3600.0) -> None:
    """Let the last heartbeat be that old."""
    beat = newest_beat(folder)
    then = beat.stat().st_mtime - seconds
    os.utime(beat, (then, then))


@contextmanager
def read_only() -> Iterator[None]:
    """Whoever looks within can only read; tests may run as root, who can always write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuning.ledger.driver_state.os.access", lambda path, mode: mode != os.W_OK)
        yield
