"""Ctrl-C and SIGTERM while a sweep runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt


class Signals:
    """Ctrl-C and SIGTERM halt the sweep; further signals do not disturb the halt.

    An exception from a signal handler inside Ray's compiled loop would become a SystemError, so a signal
    is only noted there, and the scheduler halts in its next round.
    """

    def __init__(self) -> None:
        self._noted = False
        self._only_note = False
        self.sigterm = False
        """Whether a SIGTERM arrived, which usually means preemption."""

    def listen(self) -> None:
        """Install the handlers; Ray installs its own while it starts."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def only_note(self) -> None:
        """From now on, note signals without raising an exception."""
        self._only_note = True

    def noted(self) -> bool:
        """Whether a signal has arrived."""
        return self._noted

    @contextmanager
    def only_noted(self) -> Iterator[None]:
        """Only note signals inside the `with` block, which runs Ray's loop."""
        self.only_note()
        try:
            yield
        finally:
            self._only_note = False

    def _handle(self, number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        self._noted = True
        self.sigterm = number == signal.SIGTERM
        if not self._only_note:
            raise Halt(Ending.INTERRUPTED)


@contextmanager
def halted_by_signals() -> Iterator[Signals]:
    """Install signal handlers for a sweep; the previous handlers are restored afterwards."""
    signals = Signals()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signals.listen()
    try:
        yield signals
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
