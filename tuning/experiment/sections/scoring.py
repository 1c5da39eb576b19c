"""The `scoring` section: which trials are scored on test images."""

from __future__ import annotations

from enum import StrEnum

from trainables.specs.base import Count, Spec


class Scored(StrEnum):
    """Which trials are scored on test images once the search is over."""

    FINALISTS = "finalists"
    """The best few."""
    ADAPTERS = "adapters"
    """The best of each adapter under each freezing mode."""
    EACH = "each"
    """All that ran to their own end."""
    NONE = "none"


class ScoringSpec(Spec):
    """Whose weights are scored on the test images and domains after the search, beside the untouched model.

    Trials are picked by their values on validation images; these scores change no ranking.
    """

    trials: Scored = Scored.FINALISTS
    finalists: Count = 3
    """How many, of `finalists`."""
