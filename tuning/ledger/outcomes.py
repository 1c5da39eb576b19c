"""How trials, searches and sweeps end."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    EARLY_STOPPED = "early_stopped"
    """Ended by its own patience rule; its value counts like that of a completed trial."""
    PRUNED = "pruned"
    """Stopped by the scheduler before its last epoch."""
    STOPPED = "stopped"
    """Stopped by the user."""
    DIVERGED = "diverged"
    """The loss or the objective was not a finite number."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The driver was stopped while the trial ran; the trial can resume."""
    RESTING = "resting"
    """The scheduler took its worker away until more trials have come as far; it may continue."""
    PAUSED = "paused"
    """The user took its worker away until it may continue."""
    REUSED = "reused"
    """Never ran: an earlier trial `of` the same configuration gave the value."""


RAN_TO_END = (Outcome.COMPLETED, Outcome.EARLY_STOPPED)
"""Outcomes of trials that ran all their epochs, or until their own early stopping."""
STOPPED_EARLY = (Outcome.PRUNED, Outcome.STOPPED)
"""Outcomes of trials that a scheduler or the user ended before their last epoch."""
COUNTED = (*RAN_TO_END, *STOPPED_EARLY)
"""Outcomes of trials that ended with the value of their last report, if that has one."""
AT_REST = (Outcome.RESTING, Outcome.PAUSED)
"""Outcomes of trials that have no worker for a while, though the sweep runs."""
NOT_OVER = frozenset({None, Outcome.INTERRUPTED, *AT_REST})
"""Outcomes of trials that are not over; None: the trial runs, or its driver died."""


class StoppedBy(StrEnum):
    """The scheduler or user that ended a trial early."""

    ASHA = "asha"
    MEDIAN = "median"
    HYPERBAND = "hyperband"
    PASHA = "pasha"
    PBT = "pbt"
    """Its place in the population was taken by a trial that goes on from the state of a better one."""
    DOMINANCE = "dominance"
    USER = "user"


class SearchEndedBy(StrEnum):
    """Why a search proposes nothing more, though `search.trials` would allow it."""

    EPOCHS = "epochs"
    """The budget `search.epochs` is used up."""
    GAIN = "gain"
    """So many trials in a row brought no gain (`search.stop`)."""
    TERMINATOR = "terminator"
    """Little is left to gain by a bound on the regret (`search.stop`)."""


class Ending(StrEnum):
    """How the driver's run ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
