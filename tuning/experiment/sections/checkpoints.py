"""The `checkpoints` section: how often trials are saved, where, and which checkpoints are kept."""

from __future__ import annotations

from pydantic import (
    field_validator,
)

from trainables.specs.base import Count, Hundredths, NotNegative, Positive, Spec
from trainables.storage_paths import uri_fault


class CheckpointSpec(Spec):
    """How often a running trial's state is saved, where, and how much is kept.

    A trial that dies loses its progress since the last save. Saving never takes more than a twentieth of
    a trial's time, whatever the interval.
    """

    every_s: NotNegative = 30.0
    """Seconds between two saves of a running trial's state."""
    every_epochs: Hundredths | None = None
    """Also save at the first report after this many epochs."""
    budget_gb: Positive | None = None
    """The most space for the checkpoints of all trials, in 10⁹ bytes; no limit when absent."""
    keep_best: Count = 3
    """The number of best trials that always keep their weights, whatever the budget."""
    to: str | None = None
    """The URI of a folder on an object store, which gets a folder named after the experiment; the
    experiment's own folder when absent."""

    @field_validator("to")
    @classmethod
    def _store(cls, uri: str | None) -> str | None:
        # A ValueError's message is shown alone; other kinds repeat the value, which may contain a secret.
        if uri is not None and (error := uri_fault(uri)) is not None:
            raise ValueError(error)
        return uri
