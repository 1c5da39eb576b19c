"""What the study proposes: a configuration under its trial's number, or why there is none."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from tuning.ledger.history import TrialHistory
from tuning.ledger.parent import Parent
from tuning.ledger.records import SamplerAttributes, StartedRecord


@dataclass(frozen=True)
class Proposal:
    """A configuration under its trial's number."""

    number: int
    params: Mapping[str, JsonValue]
    hash: str
    reuses: int | None = None
    """The trial of the same configuration that this one takes its result from."""
    again: bool = False
    """Whether the trial started before and continues."""
    sampler: SamplerAttributes | None = None
    """What the sampler noted while it drew the configuration."""
    parent: Parent | None = None
    """The trial that it begins with."""

    def started(self, *, joined: int | None = None) -> StartedRecord:
        """The line that says that the trial is about to run. joined: see `StartedRecord`."""
        return StartedRecord(
            trial=self.number,
            params=dict(self.params),
            hash=self.hash,
            joined=joined,
            sampler=self.sampler,
            parent=self.parent,
        )


def propose_again(trial: TrialHistory) -> Proposal:
    """A trial that continues, under its own number."""
    return Proposal(trial.number, trial.params, trial.hash, again=True, parent=trial.parent)


class NoProposal(enum.Enum):
    """Why there is no proposal."""

    FINISHED = "finished"
    """All trials asked for, or the whole space, have been proposed; or the user has paused what is left."""
    WAIT = "wait"
    """Only the configuration of a running trial is left; ask again when that trial has ended."""
