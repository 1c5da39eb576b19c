"""Ctrl-C and SIGTERM while a sweep runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tuning.ledger.recorder import Halt
from tuning.ledger.records import Ending


class Signals:
    """Ctrl-C and a polite kill halt the sweep; a further one does not disturb the halting.

    An exception from a handler that runs inside Ray's compiled loop would come out of it as a
    SystemError, so there a signal is only noted, and the scheduler halts in its next round.
    """

    def __init__(self) -> None:
        self._noted = False
        self._only_note = False
        self.sigterm = False
        """Whether a SIGTERM came: the machine is wanted back."""

    def listen(self) -> None:
        """Put the handlers in place; Ray puts its own there while it comes up."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def only_note(self) -> None:
        """From now on a signal raises nothing."""
        self._only_note = True

    def noted(self) -> bool:
        """Whether a signal came while signals were only noted."""
        return self._noted

    @contextmanager
    def only_noted(self) -> Iterator[None]:
        """For the time of Ray's loop."""
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
    """Handlers for the time of a sweep; those that were there before come back."""
    signals = Signals()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signals.listen()
    try:
        yield signals
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
