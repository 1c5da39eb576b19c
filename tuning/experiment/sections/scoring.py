"""The `scoring` section: the trials that are scored on test images."""

from __future__ import annotations

from enum import StrEnum

from trainables.specs.base import Count, Spec


class Scored(StrEnum):
    """The trials that are scored on test images after the search."""

    FINALISTS = "finalists"
    """The best trials."""
    ADAPTERS = "adapters"
    """The best trial of each adapter in each freezing mode."""
    EACH = "each"
    """All trials that ran all their epochs, or until their own early stopping."""
    NONE = "none"


class ScoringSpec(Spec):
    """The trials that are scored on test images and domains after the search, with the pretrained baseline.

    Trials are selected by their values on validation images; test scores change no ranking.
    """

    trials: Scored = Scored.FINALISTS
    finalists: Count = 3
    """The number of trials for `trials: finalists`."""
