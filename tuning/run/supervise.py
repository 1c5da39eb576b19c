"""A driver that is started again when it dies. No ray, no torch: this process must outlive it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from trainables.errors import LedgerError
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.records import Ending, ReportRecord
from tuning.messages import INTERRUPTED, PREEMPTED, USER_ERROR

PAUSES_S = (1.0, 5.0, 15.0, 60.0, 180.0)
"""Before each restart, as long as no trial reports in between; then there is no further one."""
_POLL_INTERVAL_S = 0.1
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MEANT = frozenset({0, USER_ERROR, PREEMPTED, INTERRUPTED})
"""Exit codes of a driver that ended as it was meant to, or was not let begin."""


def supervise(
    start: Sequence[str],
    again: Sequence[str],
    folder: Path,
    *,
    tell: Callable[[str], None],
    pauses: Sequence[float] = PAUSES_S,
) -> int:
    """Runs `start` and, each time the driver dies before its experiment has ended, `again`.

    start, again: whole command lines, of a launch and of a resume.  folder: the experiment's.
    tell: is told of deaths.  Signals that ask for an end are passed on to the driver, which is then
    not started again.  Returns the exit code of the last one; 128 + n where signal n killed it.
    """
    driver = _Driver()
    reports, restarts = 0, 0
    with driver.signals_passed_on():
        code = driver.run(start)
        while driver.asked is None:
            if (now := _reports(folder)) > reports:
                reports, restarts = now, 0
            # A resume that does not come up, as while its cluster does not answer, is tried again too.
            ended = code in _MEANT and not (code == USER_ERROR and restarts)
            if ended or not _can_continue(folder):
                break
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            if restarts == len(pauses):
                tell(f"the driver {how}, {restarts} times in a row without a new report; it stays down")
                break
            tell(f"the driver {how}; it resumes in {pauses[restarts]:g} s")
            driver.pause(pauses[restarts])
            if driver.asked is not None:
                return PREEMPTED if driver.asked == signal.SIGTERM else 128 + driver.asked
            restarts += 1
            code = driver.run(again)
    return 128 - code if code < 0 else code


def _reports(folder: Path) -> int:
    try:
        return sum(isinstance(record, ReportRecord) for record in read_records(folder))
    except LedgerError:
        return 0


def _can_continue(folder: Path) -> bool:
    """Whether there is an experiment that has not come to its end."""
    try:
        closed = read_history(folder).closed
    except LedgerError:
        return False  # it died before there was anything to go on with
    return closed is None or closed.reason is Ending.FAILED


class _Driver:
    """The child, and what it was asked."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.asked: int | None = None
        """The last signal that was passed on."""

    def run(self, command: Sequence[str]) -> int:
        """Until it ends; minus the signal that killed it."""
        # In a group of its own, so that Ctrl-C reaches it once, from here.
        self._child = subprocess.Popen(command, process_group=0)
        if self.asked is not None:  # while it started
            self._child.send_signal(self.asked)
        try:
            return self._child.wait()
        finally:
            self._child = None

    def pause(self, seconds: float) -> None:
        """Until a signal comes, at most so long."""
        deadline = time.monotonic() + seconds
        while self.asked is None and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_INTERVAL_S))

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """Handlers for the time of supervision. What was ignored before, as under nohup, stays so."""
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
