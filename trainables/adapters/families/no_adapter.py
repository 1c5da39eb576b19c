"""Adapter `none`: the backbone without changes."""

from __future__ import annotations

from trainables.adapters.family import AdapterFamily
from trainables.adapters.layout import Layout
from trainables.specs.trial import TrialConfig


def no_config(config: TrialConfig, layout: Layout, total_steps: int) -> None:
    """Return None: there is no adapter to inject."""


FAMILY = AdapterFamily(peft_config=no_config)
