"""The settings of a trial by dotted name, which a file may fix under `trial` or search under `space`."""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic import JsonValue as Json
from pydantic.fields import FieldInfo

from trainables.specs.trial import TrialConfig
from tuning.experiment.file_errors import Path, Violation, closest_name, suggestion, translate_errors


class SettingKind(Enum):
    """The kind of value that a setting has."""

    WHOLE = auto()
    REAL = auto()
    OTHER = auto()
    SECTION = auto()
    OPEN = auto()
    """Any value: an argument that a PEFT method defines."""


@dataclass(frozen=True)
class Setting:
    """One setting, or a section of settings."""

    name: str
    kind: SettingKind
    adapter: TypeAdapter[Any]
    holds: frozenset[str] = frozenset()
    """The keys of a section."""
    has_free_keys: bool = False
    """Whether it is a mapping with keys of the user's: the arguments of a PEFT method, the data's classes."""

    def violations(self, value: Json, path: Path) -> list[Violation]:
        """The rules that `value` at `path` breaks."""
        try:
            self.adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            known: dict[Path, Sequence[str]] = {(): sorted(self.holds)}
            return [Violation((*path, *m.path), m.rule) for m in translate_errors(error, known)]
        return []


@cache
def find_setting(name: str) -> Setting | None:
    """The setting with a dotted name; None if it does not exist."""
    model: type[BaseModel] = TrialConfig
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if part not in model.model_fields:
            return None
        field = model.model_fields[part]
        inner = bare_type(field.annotation)
        last = depth == len(parts) - 1
        if isinstance(inner, type) and issubclass(inner, BaseModel) and not last:
            model = inner
        elif get_origin(inner) is dict and not last:
            return _free(name, get_args(inner)[1]) if all(parts) else None
        elif not last:
            return None
    return Setting(name, _kind(inner), field_type_adapter(field), _keys(inner), get_origin(inner) is dict)


def _free(name: str, value: Any) -> Setting:
    """The setting of a key of the user's. value: the annotation of the mapping's values."""
    if value is Json:
        return Setting(name, SettingKind.OPEN, TypeAdapter(Json))
    return Setting(name, _kind(bare_type(value)), TypeAdapter(value))


def field_type_adapter(field: FieldInfo) -> TypeAdapter[Any]:
    """The validator of a single field, with its constraints."""
    annotation: Any = field.annotation
    return TypeAdapter(Annotated[(annotation, *field.metadata)] if field.metadata else annotation)


def unknown_setting(name: str) -> str:
    """The message for a name that is not a setting, with the setting that was probably meant."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        above = ".".join(parts[: depth - 1])
        section = find_setting(above) if above else None
        if above and section is None:
            continue
        if section is not None and not section.holds:
            return f"unknown key; {above} is a single value, not a section"
        known = section.holds if section is not None else frozenset(TrialConfig.model_fields)
        if closest_name(parts[depth - 1], known) or section is not None:
            return f"unknown key{suggestion(parts[depth - 1], sorted(known))}"
    elsewhere = [n for n in setting_names() if n.split(".")[-1] == parts[-1]]
    if elsewhere and len(parts) == 1:
        return f"unknown key; did you mean {' or '.join(elsewhere[:3])}?"
    return "unknown key; trials have no such setting; `adaptertune schema` lists all of them"


@cache
def setting_names() -> tuple[str, ...]:
    """The dotted names of all settings, without the sections."""
    return tuple(_walk(TrialConfig, ""))


def bare_type(annotation: Any) -> Any:
    """An annotation without `| None` and without `Annotated`."""
    if get_origin(annotation) is Annotated:
        return bare_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        return bare_type(rest[0]) if len(rest) == 1 else annotation
    return annotation


def keys_of(model: type[BaseModel], path: Path = ()) -> dict[Path, Sequence[str]]:
    """The keys of a model and of its nested models, by path."""
    found: dict[Path, Sequence[str]] = {path: [f.alias or name for name, f in model.model_fields.items()]}
    for name, field in model.model_fields.items():
        inner = bare_type(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys_of(inner, (*path, name))
    return found


def _kind(inner: Any) -> SettingKind:
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return SettingKind.SECTION
    return {int: SettingKind.WHOLE, float: SettingKind.REAL}.get(inner, SettingKind.OTHER)


def _keys(inner: Any) -> frozenset[str]:
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return frozenset(inner.model_fields)
    return frozenset()


def _walk(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = bare_type(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _walk(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
