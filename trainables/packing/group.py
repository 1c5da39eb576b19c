"""Which trials can take their steps together."""

from __future__ import annotations

import json

from trainables.specs.adapters import Freezing
from trainables.specs.trial import TrialConfig

_FROZEN = frozenset({Freezing.FROZEN, Freezing.HEAD_ONLY})
"""The modes in which no backbone weight ever trains."""
_SHARED = {"targets", "blocks", "freeze_head", "head", "loss", "batch_size", "accumulate", "precision"}
"""The settings that trials of one group have in common; all others may differ."""


def group_of(config: TrialConfig) -> str | None:
    """A key that is equal for trials that can take their steps together; None for one that trains alone."""
    section = config.section
    if (section is not None and not section.packs) or config.mode not in _FROZEN or config.epochs == 0:
        return None
    shared = config.model_dump(mode="json", include=_SHARED)
    shared["targets"] = config.roles if section is not None else None
    return json.dumps(shared, sort_keys=True)
