"""What a study asks of the end of its search."""

from __future__ import annotations

from typing import Protocol

from tuning.ledger.outcomes import SearchEndedBy


class EndOfSearch(Protocol):
    """Whether nothing more is to be proposed, see `tuning.run.stopping.search_end`."""

    def reached(self) -> SearchEndedBy | None:
        """Why nothing more is proposed; None as long as the search goes on."""
        ...
