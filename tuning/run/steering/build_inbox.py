"""Builds the inbox of a sweep: which part of the driver takes up which request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.ledger.requests import AddRequest, ExtendRequest, PauseRequest, UnpauseRequest
from tuning.run.composition import Composition
from tuning.run.steering.additions import Additions
from tuning.run.steering.inbox import Inbox
from tuning.run.steering.pauses import Pauses

if TYPE_CHECKING:
    from tuning.search.study import Study


def build_inbox(of: Composition, study: Study) -> Inbox:
    """The inbox of a sweep."""
    pauses, additions = Pauses(of.folder, of.recorder), Additions(of, study)
    return Inbox(
        of.folder,
        of.recorder,
        {
            AddRequest: additions.add,
            ExtendRequest: additions.extend,
            PauseRequest: pauses.pause,
            UnpauseRequest: pauses.unpause,
        },
    )
