"""Rewrites settings by pattern (`rank_pattern`, …) for the names that layers have in an exported folder.

PEFT looks each layer's name up in the patterns. A segmenter's backbone has other names in the exported
folder than in training, so that a pattern with the beginning of a name, or with `^`, would match no more.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from peft import PeftConfig, PeftType

from trainables.adapters.peft_patterns import AFTER_A_DOT, first_match


def exact_patterns(config: PeftConfig, layers: Iterable[str], under: str) -> None:
    """Give each of `layers` its own entry in the patterns of `config`, in place.

    layers: names of the adapted layers in training.  under: the beginning of the names that the exported
    model lacks.
    """
    names = sorted(layers)
    for field in dataclasses.fields(config):
        patterns = getattr(config, field.name)
        if not field.name.endswith("_pattern") or not isinstance(patterns, dict):
            continue
        values = {name: _value(config.peft_type, patterns, name) for name in names}
        exact = {_key(config.peft_type, n.removeprefix(under)): v for n, v in values.items() if v is not None}
        setattr(config, field.name, exact)
    _exact_block_diagonals(config, names, under)


def _value(kind: PeftType, patterns: Mapping[str, Any], name: str) -> Any:
    """The value of the first pattern that matches a layer, as PEFT finds it; None if none matches."""
    key = first_match(kind.value, patterns, name)
    return None if key is None else patterns[key]


def _key(kind: PeftType, name: str) -> str:
    """A pattern that matches only this name."""
    first, dot, rest = name.partition(".")
    if kind.value in AFTER_A_DOT and dot:
        return rf"(?<=^{re.escape(first)}\.){re.escape(rest)}"
    return f"^{re.escape(name)}$" if kind is PeftType.OSF else f"^{re.escape(name)}"


def _exact_block_diagonals(config: PeftConfig, names: list[str], under: str) -> None:
    """BD-LoRA's two lists hold parts of names."""
    asked = getattr(config, "use_bdlora", None)
    if asked is None:
        return
    given: dict[str, Any] = dict(asked) if isinstance(asked, dict) else vars(asked).copy()
    for field in ("target_modules_bd_a", "target_modules_bd_b"):
        parts = given.get(field) or []
        given[field] = [n.removeprefix(under) for n in names if any(part in n for part in parts)]
    config.use_bdlora = given
