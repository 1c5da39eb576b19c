"""The adapter families by name. To add a family: add a file in `families` and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from trainables.adapters.families import (
    adalora,
    localized_lora,
    loha,
    lokr,
    lora,
    no_adapter,
    passthrough,
    serial_lora,
)
from trainables.adapters.family import AdapterFamily
from trainables.specs.adapters import Adapter

FAMILIES: Mapping[Adapter, AdapterFamily] = {
    Adapter.NONE: no_adapter.FAMILY,
    Adapter.LORA: lora.FAMILY,
    Adapter.ADALORA: adalora.FAMILY,
    Adapter.LOHA: loha.FAMILY,
    Adapter.LOKR: lokr.FAMILY,
    Adapter.SERIAL_LORA: serial_lora.FAMILY,
    Adapter.LOCALIZED_LORA: localized_lora.FAMILY,
    Adapter.PEFT: passthrough.FAMILY,
}
