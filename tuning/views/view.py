"""What a view has to be able to do."""

from __future__ import annotations

from typing import Protocol

from tuning.ledger.history import History
from tuning.ledger.records import Record


class View(Protocol):
    """Something that shows the record elsewhere. All calls come from one thread, its own.

    Whatever a method raises ends the view, not the sweep.
    """

    title: str
    """As messages name it."""

    def begin(self, history: History) -> None:
        """Bring it up to date with the record as read, whatever state it is in. `history` is its own."""

    def observe(self, record: Record) -> None:
        """The next record; it is in the ledger already."""

    def settle(self) -> None:
        """No record waits at the moment: write what was held back. Inherit it where nothing is."""

    def close(self) -> None:
        """The driver leaves; after the last record, and after a failure too."""
