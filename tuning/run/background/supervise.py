"""Restarting a driver that dies. This process must survive it, so it imports neither ray nor torch."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from trainables.errors import LedgerError
from trainables.wording import plural
from tuning.exit_codes import INTERRUPTED, PREEMPTED, USER_ERROR
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Ending
from tuning.ledger.records import ReportRecord
from tuning.stop_signals import code_of

PAUSES_S = (1.0, 5.0, 15.0, 60.0, 180.0)
"""The pause before each restart. The last restart ends the list; a new report of a trial resets it."""
_POLL_INTERVAL_S = 0.1
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MEANT = frozenset({0, USER_ERROR, PREEMPTED, INTERRUPTED})
"""Exit codes of a driver that ended as intended, or was refused by a user error."""


def supervise(
    start: Sequence[str],
    again: Sequence[str],
    folder: Path,
    *,
    tell: Callable[[str], None],
    pauses: Sequence[float] = PAUSES_S,
) -> int:
    """Run `start`, then run `again` each time the driver dies before its experiment has ended.

    start, again: the command lines of a launch and of a resume.  folder: the experiment's.  tell: called
    with a message when the driver dies.  Signals that ask for an end are forwarded to the driver, which is
    then not restarted.  Returns the exit code of the last driver; 128 + n if signal n killed it.
    """
    driver = _Driver()
    reports, restarts = 0, 0
    with driver.signals_passed_on():
        code = driver.run(start)
        while driver.asked is None:
            if (now := _reports(folder)) > reports:
                reports, restarts = now, 0
            # A resume that does not start, for example because its cluster does not answer, is retried too.
            ended = code in _MEANT and not (code == USER_ERROR and restarts)
            if ended or not _can_continue(folder):
                break
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            if restarts == len(pauses):
                tell(
                    f"the driver {how}, {plural(restarts, 'time')} in a row without a new report; it is"
                    " not restarted"
                )
                break
            tell(f"the driver {how}; it resumes in {pauses[restarts]:g} s")
            driver.pause(pauses[restarts])
            if driver.asked is not None:
                return code_of(driver.asked)
            restarts += 1
            code = driver.run(again)
    if code < 0 and driver.asked is not None:  # killed by it, before its first line
        return code_of(driver.asked)
    return 128 - code if code < 0 else code


def _reports(folder: Path) -> int:
    try:
        return sum(isinstance(record, ReportRecord) for record in read_records(folder))
    except LedgerError:
        return 0


def _can_continue(folder: Path) -> bool:
    """Whether the experiment exists and has not ended."""
    try:
        closed = read_history(folder).closed
    except LedgerError:
        return False  # the driver died before it wrote a record
    return closed is None or closed.reason is Ending.FAILED


class _Driver:
    """The child process, and the last signal that was forwarded to it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.asked: int | None = None
        """The last signal that was forwarded."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command until it ends; return its exit code, or minus the signal that killed it."""
        # In its own process group, so that Ctrl-C reaches it only once, forwarded from here.
        self._child = subprocess.Popen(command, process_group=0)
        if self.asked is not None:  # while it started
            self._child.send_signal(self.asked)
        try:
            return self._child.wait()
        finally:
            self._child = None

    def pause(self, seconds: float) -> None:
        """Wait until a signal arrives, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self.asked is None and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_INTERVAL_S))

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """Forward signals inside the `with` block. Signals that were ignored (nohup) stay ignored."""
        before = {number: signal.getsignal(number) for number in _PASSED_ON}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        if self._child is not None:
            self._child.send_signal(number)
