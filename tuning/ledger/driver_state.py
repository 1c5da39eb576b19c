"""Whether a driver runs an experiment, as far as that can be seen from here. The rest is not guessed.

In this order: the lock of the driver on this machine; what it says itself (it has ended); whether its process
lives, if that is one of this machine; and its heartbeat. That is compared with the clock of the storage,
which is that of a file written now; a reader who cannot write sees whether it goes on.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tuning.ledger.attempts import BEAT_S, ENDED, FOLDER, Claim, newest_claim
from tuning.messages import say

LOCK = "driver.lock"
SILENT_S = 30.0
"""A driver whose heartbeat has not changed for so long is taken for dead, and another one may take over."""
LOOK_S = 2 * BEAT_S + 1.0
"""How long a reader who cannot write waits to see whether the heartbeat goes on."""

STOPS_WITHIN_S = 60.0
"""How long a driver that takes over waits for the other one, if that goes on beating but does not stop."""

UNCHANGED = 3
"""After so many looks that are `BEAT_S` apart, a heartbeat that stays the same says nothing of its driver."""

Sleep = Callable[[float], None]


class DriverState(StrEnum):
    """What is known of the driver."""

    RUNNING = "running"
    ENDED = "ended"
    """It has ended in an orderly way, or it runs the experiment that this one is a copy of."""
    DIED = "died"
    """It is gone, and did not close the record."""
    UNKNOWN = "unknown"
    """It cannot be seen from here, by somebody who can only read the folder."""

    @property
    def may_run(self) -> bool:
        """Whether it runs, or may do so."""
        return self in (DriverState.RUNNING, DriverState.UNKNOWN)


@dataclass(frozen=True)
class Look:
    """One look at a driver. state: None if only its heartbeat tells.  beat: its content.

    age_s: how long ago it was written, by the storage's clock for somebody who can write, else by this
    machine's; None if there is none.
    """

    state: DriverState | None
    writable: bool
    beat: str | None = None
    age_s: float | None = None


def driver_state(folder: Path, sleep: Sleep = time.sleep) -> DriverState:
    """Whether a driver runs the experiment in `folder`. See `driver_states`."""
    return driver_states([folder], sleep)[folder]


def driver_states(folders: Sequence[Path], sleep: Sleep = time.sleep) -> dict[Path, DriverState]:
    """The state of each experiment's driver.

    Waits `LOOK_S` once for all of those that only a second look can tell.
    """
    first = {folder: look(folder) for folder in folders}
    found = {folder: judge(seen) for folder, seen in first.items()}
    if None in found.values():
        sleep(LOOK_S)
    return {
        folder: state if state is not None else _of_two(first[folder], look(folder))
        for folder, state in found.items()
    }


def driver_alive(folder: Path, sleep: Sleep = time.sleep) -> bool:
    """Whether a driver runs the experiment, or may do so."""
    return driver_state(folder, sleep).may_run


class DriverWatch:
    """Looks at a driver about every `BEAT_S`, and never waits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._beat: str | None = None
        self._same = UNCHANGED
        """How many looks have found the same heartbeat, while only that tells."""

    def state(self) -> DriverState:
        """What is known now."""
        seen = look(self._folder)
        self._same = 0 if self._beat is not None and seen.beat != self._beat else self._same + 1
        self._beat = seen.beat
        found = judge(seen)
        if found is not None:
            return found
        return DriverState.RUNNING if self._same < UNCHANGED else DriverState.UNKNOWN


def look(folder: Path, *, lock: bool = True) -> Look:
    """Look at a driver once. lock: whether its lock counts; not for somebody who holds it."""
    if not folder.is_dir():
        return Look(DriverState.ENDED, writable=False)
    writable = os.access(folder, os.W_OK)
    if lock and _locked(folder / LOCK):
        return Look(DriverState.RUNNING, writable)
    gone = DriverState.DIED if writable else DriverState.UNKNOWN
    claim = newest_claim(folder)
    if claim is None:  # a record of before, whose drivers have only the lock
        return Look(gone, writable)
    beat = _beat_of(claim)
    if beat == ENDED or claim.of_copy:
        return Look(DriverState.ENDED, writable)
    alive = None if claim.driver is None else claim.driver.alive()
    if alive is not None:
        return Look(DriverState.RUNNING if alive else gone, writable)
    return Look(None, writable, beat, _age_of(claim, folder, writable))


def judge(seen: Look) -> DriverState | None:
    """What one look tells; None if only a second one can."""
    if seen.state is not None:
        return seen.state
    if seen.age_s is not None and -SILENT_S < seen.age_s < SILENT_S:
        return DriverState.RUNNING
    return DriverState.DIED if seen.writable else None


def _of_two(first: Look, second: Look) -> DriverState:
    if (state := judge(second)) is not None:
        return state
    return DriverState.RUNNING if second.beat != first.beat else DriverState.UNKNOWN


def wait_until_gone(folder: Path, sleep: Sleep = time.sleep) -> bool:
    """Whether the last driver is gone, so that another one may begin; for somebody who holds the lock.

    Waits at most `SILENT_S` to see it. A heartbeat that changes meanwhile is that of a driver that runs.
    """
    first, waited = look(folder, lock=False), 0.0
    state = first.state
    if state is not None:
        return state is not DriverState.RUNNING
    claim = newest_claim(folder)
    who = claim.driver.told if claim is not None and claim.driver is not None else "another machine"
    seen = first
    while judge(seen) is DriverState.RUNNING and waited < SILENT_S:
        if waited == 0.0:
            say(f"waiting up to {SILENT_S:g} s to see whether the last driver, {who}, is gone")
        sleep(BEAT_S)
        waited += BEAT_S
        seen = look(folder, lock=False)
        if seen.state is not None:
            return seen.state is not DriverState.RUNNING
        if seen.beat != first.beat:
            return False
    return True


def wait_until_stopped(folder: Path, taken_over: Claim, sleep: Sleep = time.sleep) -> None:
    """Wait until the driver of an older attempt has stopped, which it does once it sees the newer one.

    A frozen driver sees nothing: it is waited for until it was silent for `SILENT_S`. And one that beats, but
    hangs, for `STOPS_WITHIN_S`. Both find the newer attempt before they write anything more.
    """
    waited = 0.0
    while not _stopped(folder, taken_over) and waited < STOPS_WITHIN_S:
        if waited == 0.0:
            who = "the last driver" if taken_over.driver is None else taken_over.driver.told
            say(f"taking over from {who}; waiting up to {STOPS_WITHIN_S:g} s until it has stopped")
        sleep(1.0)
        waited += 1.0


def _stopped(folder: Path, claim: Claim) -> bool:
    """Whether a driver has ended, or is silent; that its process lives says nothing, as it may be frozen."""
    gone = claim.driver is not None and claim.driver.alive() is False
    if gone or claim.of_copy or _beat_of(claim) == ENDED:
        return True
    return judge(Look(None, writable=True, age_s=_age_of(claim, folder, True))) is DriverState.DIED


def _locked(path: Path) -> bool:
    """Whether a driver of this machine holds the lock. Needs only to read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _beat_of(claim: Claim) -> str | None:
    try:
        return claim.path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _age_of(claim: Claim, folder: Path, writable: bool) -> float | None:
    """Seconds since the last heartbeat; see `Look`."""
    try:
        then = claim.path.stat().st_mtime
    except OSError:
        return None
    now = _time_of_storage(folder) if writable else None
    return (time.time() if now is None else now) - then


def _time_of_storage(folder: Path) -> float | None:
    """The clock of the file system, by a file that is written now; None if that fails."""
    probe = folder / FOLDER / f".now.{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return None
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
