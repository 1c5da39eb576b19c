"""Ctrl-C, SIGTERM and SIGHUP while a sweep runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tuning import stop_signals
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP halt the sweep; further signals do not disturb the halt.

    A signal is only noted, and the sweep halts at its next step. An exception from a handler would become a
    SystemError inside Ray's compiled loop. In the middle of an import it can leave the lock of a module
    held, and the import of another thread, or this one's next, waits for it forever (seen with Python 3.11).
    """

    def __init__(self) -> None:
        # One may have come before, and its exception may have been lost in the middle of an import.
        self.number = stop_signals.noted()
        """The first signal that arrived."""

    def noted(self) -> bool:
        """Whether a signal has arrived."""
        return self.number is not None

    def check(self) -> None:
        """Raise Halt if a signal has arrived."""
        if self.noted():
            raise Halt(Ending.INTERRUPTED)

    def note(self, number: int, frame: object) -> None:
        """A signal has arrived: the handler."""
        stop_signals.note(number)
        self.number = number if self.number is None else self.number


@contextmanager
def halted_by_signals() -> Iterator[Signals]:
    """Install signal handlers for a sweep; the previous handlers are restored afterwards."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals  # Python delivers none
        return
    before = {number: signal.signal(number, signals.note) for number in stop_signals.stop_signals()}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
