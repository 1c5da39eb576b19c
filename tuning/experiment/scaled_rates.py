"""Learning rates that a space scales with a setting of the adapter (`scale_with`).

The search draws, records and compares the values of the space. A trial trains at the drawn value × default ÷
setting, where default is that of the setting: with `scale_with: lora.rank` a trial of rank 16 trains at half
of what it drew, one of rank 8 at what it drew. So a good value can be about the same for all ranks, which
makes it easier to learn. Trials of another adapter train at what they drew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from trainables.specs.adapters import SECTIONS, Adapter
from tuning.experiment.space import ADAPTER, Space

RATES = ("learning_rate", "head_learning_rate")
"""Settings that can be scaled."""
_SIZES = ("rank", "alpha", "init_rank", "target_rank", "block_rank")
DEFAULTS: Mapping[str, float] = {
    f"{adapter.value}.{name}": float(field.default)
    for adapter, section in SECTIONS.items()
    for name, field in section.model_fields.items()
    if name in _SIZES
}
"""What a rate can be scaled with, and the value of it that leaves the rate as it is."""


def scale_of(setting: str, trial: Mapping[str, Any]) -> float:
    """What a drawn rate is multiplied by; 1 for another adapter.

    trial: the settings of the trial, nested; what it lacks has its default.
    """
    section, _, leaf = setting.partition(".")
    if trial.get(ADAPTER, Adapter.LORA.value) != section:
        return 1.0
    own = (trial.get(section) or {}).get(leaf, DEFAULTS[setting])
    return DEFAULTS[setting] / float(own)


def scales_in(space: Space, params: Mapping[str, JsonValue], trial: Mapping[str, Any]) -> dict[str, float]:
    """What the drawn values of rates are multiplied by, of those that `space` scales.

    params: the parameters of the trial.  trial: see `scale_of`.
    """
    found = {}
    for name in RATES:
        if name not in params or name not in space.root:
            continue
        active = space.active(name, params)
        setting = None if active is None else space.root[name][active].scale_with
        if setting is not None:
            found[name] = scale_of(setting, trial)
    return found
