"""What the study asks of the trials that rest."""

from __future__ import annotations

from typing import Protocol

from tuning.ledger.history import TrialHistory


class RestingTrials(Protocol):
    """Trials that have given up their workers, see `tuning.run.stopping.resting`."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def take(self, *, none_left: bool) -> TrialHistory | None:
        """The one that continues before a new trial starts; None if none does."""
        ...
