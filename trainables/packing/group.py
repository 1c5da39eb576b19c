"""Which trials can take their steps together, and why others cannot."""

from __future__ import annotations

import json

from trainables.specs.adapters import Freezing
from trainables.specs.trial import HeadSpec, TrialConfig

_FROZEN = frozenset({Freezing.FROZEN, Freezing.HEAD_ONLY})
"""The modes in which no backbone weight ever trains."""
_SHARED = {
    "targets",
    "blocks",
    "freeze_head",
    "head",
    "loss",
    "loss_weights",
    "batch_size",
    "accumulate",
    "precision",
}
"""The settings that trials of one group have in common; all others may differ."""
_LATER = HeadSpec().model_dump(mode="json", include={"kind", "blocks"})
"""Settings of a head that earlier versions did not have."""


def why_alone(config: TrialConfig) -> str | None:
    """Why a trial takes its steps alone, as a phrase; None for one that can take them with others."""
    section = config.section
    if section is not None and not section.packs:
        return f"adapter {config.adapter} may change more than the output of a layer"
    if config.mode not in _FROZEN:
        return f"freezing {config.mode} trains a backbone of its own"
    return "epochs: 0 takes no steps" if config.epochs == 0 else None


def group_of(config: TrialConfig) -> str | None:
    """A key that is equal for trials that can take their steps together; None for one that trains alone."""
    if why_alone(config) is not None:
        return None
    section = config.section
    shared = config.model_dump(mode="json", include=_SHARED)
    shared["targets"] = config.roles if section is not None else None
    # Settings that came later are left out while they are absent: recorded sweeps know a group by this key.
    given = config.head.model_dump(mode="json")
    shared["head"] = {k: v for k, v in given.items() if k not in _LATER or v != _LATER[k]}
    return json.dumps(shared, sort_keys=True)
