"""The error that ends a sweep whose record is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import AdaptertuneError

if TYPE_CHECKING:
    from analysis.api import Results


class NoResultsError(AdaptertuneError):
    """A sweep that ran and has no best trial. `results` is its record; None if nothing was kept."""

    def __init__(self, message: str, results: Results | None = None) -> None:
        super().__init__(message)
        self.results = results
