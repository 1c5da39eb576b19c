"""Every adapter has a family, and only the family's own file depends on which one it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainables.adapters.family import AdapterFamily
from trainables.adapters.registry import FAMILIES
from trainables.adapters.rules import RULES
from trainables.specs.adapters import SECTIONS, Adapter, AdapterSpec
from trainables.specs.trial import TrialConfig

TRAINABLES = Path(__file__).parents[3] / "trainables"
TABLES = {"adapters/registry.py", "adapters/rules.py", "specs/adapters.py"}
"""Modules that list the families."""
DEFAULTS = {"specs/trial.py"}
"""`Adapter.LORA` is the default, and adapter `peft` has no default settings: its method must be named."""


def sources() -> dict[str, str]:
    return {
        path.relative_to(TRAINABLES).as_posix(): path.read_text(encoding="utf-8")
        for path in TRAINABLES.rglob("*.py")
    }


def test_every_adapter_has_a_family_and_settings_of_its_own_name() -> None:
    assert set(FAMILIES) == set(Adapter)
    assert all(isinstance(family, AdapterFamily) for family in FAMILIES.values())
    assert set(SECTIONS) == set(Adapter) - {Adapter.NONE}
    assert all(issubclass(section, AdapterSpec) for section in SECTIONS.values())
    assert {adapter.value for adapter in SECTIONS} <= set(TrialConfig.model_fields)
    assert set(RULES) <= set(SECTIONS)


def test_every_family_has_a_file_of_its_own() -> None:
    own = [family.peft_config for family in FAMILIES.values()]
    assert len({id(family) for family in FAMILIES.values()}) == len(own) == len(Adapter)
    files = {
        path.stem
        for path in (TRAINABLES / "adapters" / "families").glob("*.py")
        if "FAMILY = " in path.read_text()
    }
    assert files == {str(a) for a in Adapter} - {"none", "peft"} | {"no_adapter", "passthrough"}


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.__name__)
def test_nothing_asks_for_the_type_of_a_familys_settings(section: type[AdapterSpec]) -> None:
    asks = re.compile(rf"isinstance\([^)]*\b{section.__name__}\b|case {section.__name__}\(")
    assert [name for name, text in sources().items() if asks.search(text)] == []


def test_nothing_asks_for_a_family_by_name() -> None:
    names = "|".join(adapter.name for adapter in Adapter if adapter is not Adapter.NONE)
    asks = re.compile(rf"\bAdapter\.({names})\b")
    assert {name for name, text in sources().items() if asks.search(text)} == TABLES | DEFAULTS


def test_the_test_can_fail() -> None:
    assert re.search(r"isinstance\([^)]*\bLoraSpec\b", "if isinstance(config.section, LoraSpec):")
