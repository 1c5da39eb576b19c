"""The interface of a view."""

from __future__ import annotations

from typing import Protocol

from tuning.ledger.history import History
from tuning.ledger.records import Record


class View(Protocol):
    """A copy of the record for another tool. All calls come from the view's own thread.

    An exception in a method ends the view, not the sweep.
    """

    title: str
    """The view's name in messages."""

    def begin(self, history: History) -> None:
        """Bring the view up to date with the record, from any state. The view may keep `history`."""

    def observe(self, record: Record) -> None:
        """Show the next record, which is in the ledger already."""

    def settle(self) -> None:
        """Write everything that was held back: no record is waiting now. The default does nothing."""

    def close(self) -> None:
        """Close the view, after the last record or after a failure."""

    def abandon(self) -> None:
        """Write nothing more, also of what was held back: another driver writes the view now.

        Called in place of `close`, and maybe before `begin`. The default does nothing.
        """
        return
