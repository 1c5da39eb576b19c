"""The settings of a trial by dotted name: what a file may fix under `trial` or search under `space`."""

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
from tuning.experiment.faults import Path, Violation, closest, meant, translate


class Kind(Enum):
    """What a setting holds."""

    WHOLE = auto()
    REAL = auto()
    OTHER = auto()
    SECTION = auto()
    OPEN = auto()
    """Anything: an argument that a PEFT method defines."""


@dataclass(frozen=True)
class Setting:
    """One setting, or a section of them."""

    name: str
    kind: Kind
    adapter: TypeAdapter[Any]
    holds: frozenset[str] = frozenset()
    """The keys of a section."""

    def misfits(self, value: Json, path: Path) -> list[Violation]:
        """What is wrong with `value`, which stands at `path`."""
        try:
            self.adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            known: dict[Path, Sequence[str]] = {(): sorted(self.holds)}
            return [Violation((*path, *m.path), m.rule) for m in translate(error, known)]
        return []


@cache
def setting(name: str) -> Setting | None:
    """The setting of a dotted name; None if there is none."""
    model: type[BaseModel] = TrialConfig
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if part not in model.model_fields:
            return None
        field = model.model_fields[part]
        inner = bare(field.annotation)
        last = depth == len(parts) - 1
        if isinstance(inner, type) and issubclass(inner, BaseModel) and not last:
            model = inner
        elif get_origin(inner) is dict and not last:
            return Setting(name, Kind.OPEN, TypeAdapter(Json)) if all(parts) else None
        elif not last:
            return None
    return Setting(name, _kind(inner), adapter_of(field), _keys(inner))


def adapter_of(field: FieldInfo) -> TypeAdapter[Any]:
    """What validates one field by itself, its constraints included."""
    annotation: Any = field.annotation
    return TypeAdapter(Annotated[(annotation, *field.metadata)] if field.metadata else annotation)


def unknown(name: str) -> str:
    """The rule for a name that is no setting, with what it may have been meant to be."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        above = ".".join(parts[: depth - 1])
        section = setting(above) if above else None
        if above and section is None:
            continue
        if section is not None and not section.holds:
            return f"unknown key: {above} is a single setting"
        known = section.holds if section is not None else frozenset(TrialConfig.model_fields)
        if closest(parts[depth - 1], known) or section is not None:
            return f"unknown key{meant(parts[depth - 1], sorted(known))}"
    elsewhere = [n for n in all_names() if n.split(".")[-1] == parts[-1]]
    if elsewhere and len(parts) == 1:
        return f"unknown key; did you mean {' or '.join(elsewhere[:3])}?"
    return "unknown key: no setting of a trial; docs/reference/experiment-file.md lists them"


@cache
def all_names() -> tuple[str, ...]:
    """Every dotted name, sections left out."""
    return tuple(_walk(TrialConfig, ""))


def bare(annotation: Any) -> Any:
    """An annotation without `| None` and without `Annotated`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        return bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def keys_of(model: type[BaseModel], path: Path = ()) -> dict[Path, Sequence[str]]:
    """The keys of a model and of the models in it, by path."""
    found: dict[Path, Sequence[str]] = {path: [f.alias or name for name, f in model.model_fields.items()]}
    for name, field in model.model_fields.items():
        inner = bare(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys_of(inner, (*path, name))
    return found


def _kind(inner: Any) -> Kind:
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return Kind.SECTION
    return {int: Kind.WHOLE, float: Kind.REAL}.get(inner, Kind.OTHER)


def _keys(inner: Any) -> frozenset[str]:
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return frozenset(inner.model_fields)
    return frozenset()


def _walk(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = bare(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _walk(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
