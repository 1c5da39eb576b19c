"""Adapter `none`: the backbone as it is."""

from __future__ import annotations

from trainables.adapters.family import AdapterFamily
from trainables.adapters.layout import Layout
from trainables.specs.trial import TrialConfig


def no_config(config: TrialConfig, layout: Layout, total_steps: int) -> None:
    """Nothing to put in."""


FAMILY = AdapterFamily(peft_config=no_config)
