"""Lets one worker of a machine measure while the others pause between two steps.

All workers of a machine that train for a sweep with `latency_ms` share two files with locks (flock) in its
folder for temporary files. A worker holds the room, shared, for each of its steps; one that measures first
locks the door, so that nobody enters any more, and then the whole room, once the others have left it. Locks
of a process that dies are gone.

Workers of other sweeps, other programs, and what workers do between steps (saving, loading) are not kept out.
Neither are containers with temporary folders of their own.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

WAIT_S = 60.0
"""How long a worker waits for the others at most; a process that hangs must not stop a sweep."""
_POLL_S = 0.002


class QuietMachine:
    """The locks of one process. folder: that of the two files."""

    def __init__(self, folder: Path, *, wait_s: float = WAIT_S) -> None:
        """Raises OSError if the files cannot be written."""
        folder.mkdir(exist_ok=True, mode=0o700)
        self._wait_s = wait_s
        self._door, self._room = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in ("door", "room")
        )

    @contextmanager
    def busy(self) -> Iterator[None]:
        """For each step: waits while another worker measures. Not to be nested."""
        until = time.monotonic() + 2 * self._wait_s  # the other one waits, and then measures
        if _locked(self._door, fcntl.LOCK_SH, until):
            _locked(self._room, fcntl.LOCK_SH, until)
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """For a measurement: waits for the others' steps, and keeps them from the next one.

        Gives whether it is alone; if not, another one has not left the room for too long.
        """
        until = time.monotonic() + self._wait_s
        held = all(_locked(file, fcntl.LOCK_EX, until) for file in (self._door, self._room))
        try:
            yield held
        finally:
            for file in (self._room, self._door):
                fcntl.flock(file, fcntl.LOCK_UN)


def _locked(file: int, how: int, until: float) -> bool:
    """Lock a file, or give up at that time."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)


class _Unlocked(QuietMachine):
    """For sweeps that measure nothing, and machines without a folder for the locks."""

    def __init__(self) -> None:
        pass

    @contextmanager
    def busy(self) -> Iterator[None]:
        yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        yield False


UNLOCKED: QuietMachine = _Unlocked()


@cache
def quiet_machine() -> QuietMachine:
    """The locks of this process on this machine."""
    try:
        return QuietMachine(Path(tempfile.gettempdir()) / f"adaptertune-latency-{getpass.getuser()}")
    except (OSError, KeyError):  # KeyError: a user without a name
        return UNLOCKED
