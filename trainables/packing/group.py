"""Which trials can take their steps together."""

from __future__ import annotations

import json

from trainables.specs.adapters import Adapter, Freezing
from trainables.specs.trial import TrialConfig

PACKED = frozenset(Adapter) - {Adapter.PEFT}
"""The adapters whose layers are computed for several trials at once; they add to a layer."""
_FROZEN = frozenset({Freezing.FROZEN, Freezing.HEAD_ONLY})
"""The modes in which no backbone weight ever trains."""
_SHARED = {"targets", "blocks", "freeze_head", "head", "loss", "batch_size", "accumulate", "precision"}
"""The settings that trials of one group have in common; all others may differ."""


def group_of(config: TrialConfig) -> str | None:
    """A key that is equal for trials that can take their steps together; None for one that trains alone."""
    if config.adapter not in PACKED or config.mode not in _FROZEN or config.epochs == 0:
        return None
    shared = config.model_dump(mode="json", include=_SHARED)
    shared["targets"] = config.roles if config.section is not None else None
    return json.dumps(shared, sort_keys=True)
