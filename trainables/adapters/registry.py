"""From an adapter's name to its PEFT configuration."""

from __future__ import annotations

from typing import assert_never

from peft import PeftConfig

from trainables.adapters.adalora import adalora
from trainables.adapters.layout import Layout
from trainables.adapters.localized_lora import localized_lora
from trainables.adapters.loha import loha
from trainables.adapters.lokr import lokr
from trainables.adapters.lora import lora
from trainables.adapters.passthrough import passthrough
from trainables.adapters.rules import adalora_steps, check
from trainables.adapters.serial_lora import serial_lora
from trainables.errors import AdapterError
from trainables.specs.adapters import Adapter
from trainables.specs.trial import TrialConfig


def peft_config(config: TrialConfig, layout: Layout, total_steps: int) -> PeftConfig | None:
    """The PEFT configuration over exactly the layers that `config` names; None for adapter `none`.

    total_steps: optimizer steps of the trial.  Raises AdapterError where it does not fit the model.
    """
    faults = check(config, layout.hidden, len(layout.blocks), inner=layout.inner, total_steps=total_steps)
    if faults:
        raise AdapterError("; ".join(faults))
    if config.adapter is Adapter.NONE:
        return None
    targets = list(layout.targets(config.roles, config.blocks))
    match config.adapter:
        case Adapter.LORA:
            return lora(config.section, targets)
        case Adapter.ADALORA:
            return adalora(config.section, targets, adalora_steps(config.section, total_steps))
        case Adapter.LOHA:
            return loha(config.section, targets)
        case Adapter.LOKR:
            return lokr(config.section, targets)
        case Adapter.SERIAL_LORA:
            return serial_lora(config.section, targets)
        case Adapter.LOCALIZED_LORA:
            return localized_lora(config.section, targets)
        case Adapter.PEFT:
            return passthrough(config, layout)
        case _:
            assert_never(config.adapter)
