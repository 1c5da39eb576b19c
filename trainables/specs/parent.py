"""Trials that begin where another one, their parent, was: at its best weights, or at its whole last state."""

from __future__ import annotations

from trainables.specs.adapters import SECTIONS
from trainables.specs.base import Spec
from trainables.specs.trial import TrialConfig

_MODEL = {
    "adapter",
    *(adapter.value for adapter in SECTIONS),
    "targets",
    "blocks",
    "freezing",
    "unfreeze_epoch",
    "frozen_blocks",
    "freeze_head",
    "head",
}
"""The settings that decide which weights there are, and which of them train."""
IN_TRAINING = frozenset(
    {
        "learning_rate",
        "head_learning_rate",
        "weight_decay",
        "clip_norm",
        "loss",
        "loss_weights",
        "plateau_factor",
        "plateau_patience",
        "augment",
    }
)
"""The settings that may change while a trial trains: its weights, its steps and its optimizer stay."""
_PRUNED = "its adapter (AdaLoRA) has pruned its ranks by the schedule of its own run"


def changes_in_training(name: str) -> bool:
    """Whether a setting, by its dotted name, may change while a trial trains."""
    return name.split(".")[0] in IN_TRAINING and name != "augment.views"  # these are drawn once


class ParentFile(Spec):
    """The checkpoint that a trial begins with.

    path: a path or a URI.  state: whether the trial continues from the whole state in it (weights, optimizer,
    position), else it begins its own first epoch with the weights.
    """

    path: str
    state: bool


def why_not_warm(parent: TrialConfig, child: TrialConfig) -> str | None:
    """Why a trial cannot begin with another one's weights, as a phrase; None if it can."""
    if _prunes(parent) or _prunes(child):
        return _PRUNED
    here, there = (config.model_dump(mode="json", include=_MODEL) for config in (child, parent))
    here["freezing"], there["freezing"] = child.mode.value, parent.mode.value
    different = sorted(name for name in here if here[name] != there[name])
    if not different:
        return None
    return (
        f"{', '.join(different)} {'differs' if len(different) == 1 else 'differ'}, so the weights are others;"
        " a warm copy may change how it trains, not what"
    )


def why_not_longer(config: TrialConfig) -> str | None:
    """Why a trial cannot be continued for more epochs than it began with, as a phrase; None if it can."""
    return _PRUNED if _prunes(config) else None


def _prunes(config: TrialConfig) -> bool:
    return config.section is not None and config.section.prunes
