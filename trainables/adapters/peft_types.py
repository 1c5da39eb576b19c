"""Checks values for the fields of PEFT's configs, which are dataclasses that check no types."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def misfit(value: Any, hint: Any, name: str) -> str | None:
    """What is wrong with a value for a field of PEFT's config, which checks no types.

    PEFT takes the string "false" for true, and drops keys that a nested config does not have.
    """
    if name == "init_lora_weights":  # its type names fewer initialisations than PEFT has; `rules` knows them
        return None
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if any(dataclasses.is_dataclass(option) for option in options):  # a nested config, or any mapping
        options = tuple(option for option in options if option is not dict)
    reasons = [_against(value, option) for option in options]
    if None in reasons:
        return None
    nested = next((reason for reason in reasons if reason and reason.startswith(".")), None)
    named = " or ".join(dict.fromkeys(_type_name(option) for option in options if option is not type(None)))
    return nested or f" must be {named}, got {value!r}"


def _against(value: Any, option: Any) -> str | None:
    origin = get_origin(option)
    if origin is Literal:
        return None if value in get_args(option) else "another"
    if dataclasses.is_dataclass(option):
        return _nested(value, option) if isinstance(value, dict) else "another"
    kind = origin or option
    if kind in (int, float):  # PEFT's own defaults and recipes mix them
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "another"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return None if value in [member.value for member in kind] else "another"
    return None if not isinstance(kind, type) or isinstance(value, kind) else "another"


def _nested(value: dict[str, Any], made: Any) -> str | None:
    fields = [field.name for field in dataclasses.fields(made) if field.init]
    hints = get_type_hints(made)
    for key, part in value.items():
        if key not in fields:
            return f".{key}: {made.__name__} has no such key{did_you_mean(key, fields)}"
        if (fault := misfit(part, hints[key], key)) is not None:
            return f".{key}{fault}"
    return None


def _type_name(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(repr, get_args(option)))
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", dict: "a mapping"}
    kind = get_origin(option) or option
    return names.get(
        kind, "a mapping" if dataclasses.is_dataclass(option) else getattr(kind, "__name__", str(kind))
    )


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; it has {', '.join(known)}"
