"""What may be asked of a sweep, by its record: the same rules for the command line and for the driver."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.errors import StorageError
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.requests import PauseRequest, Request, UnpauseRequest


def check_pause(history: History, trial: int | None, paused: frozenset[int | None]) -> None:
    """Raise StorageError if there is nothing to pause. trial: None for the whole sweep.

    paused: what is paused, or will be when the driver has taken up earlier requests.
    """
    if trial in paused:
        raise StorageError(f"{_named(history, trial)} is paused already")
    if trial is None:
        if history.finished:
            raise StorageError(f"{history.name} has finished; there is nothing to pause")
        return
    known = known_trial(history, trial)
    if known.over:
        raise StorageError(f"trial {trial} of {history.name} has ended already ({known.outcome})")


def check_unpause(history: History, trial: int | None, paused: frozenset[int | None]) -> None:
    """Raise StorageError if a trial, or the whole sweep if None, is not paused. paused: see `check_pause`."""
    if trial in paused:
        return
    if trial is not None:
        known_trial(history, trial)
        if None in paused:
            raise StorageError(
                f"{history.name} is paused as a whole, not trial {trial} alone; unpause {history.name}"
            )
    raise StorageError(f"{_named(history, trial)} is not paused")


def known_trial(history: History, number: int) -> TrialHistory:
    """A trial by number. Raises StorageError if there is none."""
    if number not in history.trials:
        raise StorageError(f"{history.name} has no trial {number}")
    return history.trials[number]


def paused_after(history: History, waiting: Iterable[Request]) -> frozenset[int | None]:
    """What is paused once the driver has taken up `waiting`, in this order."""
    paused = history.paused
    for request in waiting:
        if isinstance(request, PauseRequest):
            paused |= {request.trial}
        if isinstance(request, UnpauseRequest):
            paused -= {request.trial}
    return paused


def _named(history: History, trial: int | None) -> str:
    return history.name if trial is None else f"trial {trial} of {history.name}"
