"""The `checkpoints` section: how often trials are saved, where, and what is kept."""

from __future__ import annotations

from pydantic import (
    field_validator,
)

from trainables.object_store import uri_fault
from trainables.specs.base import Count, Hundredths, NotNegative, Positive, Spec


class CheckpointSpec(Spec):
    """How often a running trial's state is saved, where, and how much of it all stays.

    A trial that dies loses what came after the last save. Saving never takes more than a twentieth of a
    trial's time, whatever is asked for.
    """

    every_s: NotNegative = 30.0
    every_epochs: Hundredths | None = None
    """Also at the first report after so many epochs."""
    budget_gb: Positive | None = None
    """What the checkpoints of all trials may take, in 10⁹ bytes; no limit when absent."""
    keep_best: Count = 3
    """Of so many of the best trials the budget takes no weights."""
    to: str | None = None
    """A store's folder, as a URI, that keeps them under the experiment's name; its own folder when absent."""

    @field_validator("to")
    @classmethod
    def _store(cls, uri: str | None) -> str | None:
        # A ValueError's message stands alone; other kinds repeat the value, which may hold a secret.
        if uri is not None and (error := uri_fault(uri)) is not None:
            raise ValueError(error)
        return uri
