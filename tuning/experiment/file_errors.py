"""Errors of an experiment file: the line, the key, the rule, the value, and how to fix it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trainables.errors import ExperimentFileError
from trainables.wording import nearest_name, plural

Path = tuple[str | int, ...]
"""The keys and list positions that lead to a value in the file."""
Location = int | str
"""A line of the file, or `--set`."""
SET = "--set"
MISSING = "is missing; add it"
_FEW = 20
"""The most known names that a message lists."""
_SYNONYMS = {
    "lr": "learning_rate",
    "r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "batch": "batch_size",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "num_trials": "trials",
    "n_trials": "trials",
    "direction": "mode",
    "max_epochs": "epochs",
}
"""Names of our keys in other libraries."""


@dataclass(frozen=True)
class FileError:
    """One error: its location, its dotted key, and the rule with the value and how to fix it."""

    where: Location
    key: str
    rule: str


@dataclass(frozen=True)
class Violation:
    """A broken rule at a path of the plain values, before its line in the file is known."""

    path: Path
    rule: str


def file_error(file: str, errors: Iterable[FileError], note: str = "") -> ExperimentFileError:
    """All errors as one exception, in the file's order, each once; `note` comes last."""
    known = sorted(dict.fromkeys(errors), key=lambda f: (isinstance(f.where, str), str(f.where).zfill(9)))
    places = [f"line {f.where}" if isinstance(f.where, int) else f.where for f in known]
    wide, wider = max(map(len, places)), max(len(f.key) for f in known)
    lines = [
        f"  {place:<{wide}}  {f.key:<{wider}}  {f.rule}" if wider else f"  {place:<{wide}}  {f.rule}"
        for place, f in zip(places, known, strict=True)
    ]
    count = plural(len(known), "error")
    return ExperimentFileError("\n".join([f"{file}: {count}", *lines, *([note] if note else [])]))


def dotted_key(path: Sequence[str | int]) -> str:
    """A path as `space.lora.rank` or `search.first[0].adapter`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def closest_name(word: object, known: Iterable[object]) -> str | None:
    """As `nearest_name`; a setting's name in another library means ours."""
    names = [str(name) for name in known]
    ours = _SYNONYMS.get(str(word))
    return ours if ours in names else nearest_name(word, names)


def read_text(path: FilePath, shown: object = None) -> str:
    """The text of a file of the user's. shown: how messages name it; None for the path.

    Raises ExperimentFileError if it cannot be read, or is not UTF-8.
    """
    title = path if shown is None else shown
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ExperimentFileError(
            f"{title} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise ExperimentFileError(f"{title} cannot be read: {error.strerror}") from error


def suggestion(word: object, known: Iterable[object]) -> str:
    """`; did you mean 'x'?`, or the list of known names if it is short, or nothing."""
    names = [str(name) for name in known]
    if (close := closest_name(word, names)) is not None:
        return f"; did you mean '{close}'?"
    return f"; available: {', '.join(names)}" if 0 < len(names) <= _FEW else ""


def describe_value(value: Any) -> str:
    """A value as messages show it."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = json.dumps(value)
    return text if len(text) <= 60 else ("a list" if isinstance(value, list) else "a mapping")


def translate_errors(
    error: ValidationError, known: dict[Path, Sequence[str]] | None = None
) -> list[Violation]:
    """Pydantic's errors as violations in our own wording.

    known: for the path of a mapping, the keys that it may have; an unknown key is compared with them.
    """
    found = []
    details = error.errors(include_url=False)
    for detail in details:
        path: Path = tuple(detail["loc"])
        if detail["type"] == "too_short" and any(d["loc"][:-1] == path for d in details if d["loc"]):
            continue  # pydantic has counted the valid items only
        if detail["type"] == "missing" and path and isinstance(path[-1], int):
            found.append(
                Violation(
                    path[:-1],
                    f"must have {plural(path[-1] + 1, 'item')}, got {describe_value(detail['input'])}",
                )
            )
            continue
        inner = getattr((detail.get("ctx") or {}).get("error"), "faults", None)
        if inner is not None:
            pairs = [("", one) if isinstance(one, str) else one for one in inner]
            found += [Violation((*path, *key.split(".")) if key else path, rule) for key, rule in pairs]
        elif detail["type"] == "extra_forbidden":
            keys = (known or {}).get(path[:-1], ())
            found.append(Violation(path, f"unknown key{suggestion(path[-1], keys)}"))
        else:
            found.append(Violation(path, _rule(detail)))
    return found


_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}


def _rule(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx") or {}
    if kind == "missing":
        return MISSING
    if kind in _KINDS:
        hint = ""
        if kind == "string_type" and isinstance(value, int | float | bool):
            hint = f"; quote it: '{json.dumps(value)}'"
        elif isinstance(value, str) and kind.startswith(("int", "float")) and _is_number(value):
            hint = "; remove the quotes"
        return f"must be {_KINDS[kind]}, got {describe_value(value)}{hint}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {context[name]:g}, got {describe_value(value)}"
    if kind in ("enum", "literal_error"):
        options = [part.strip(" '") for part in context["expected"].replace(" or ", ",").split(",")]
        close = closest_name(value, options)
        guess = f"; did you mean '{close}'?" if close else ""
        return f"must be one of {', '.join(options)}, got {describe_value(value)}{guess}"
    if kind in ("too_short", "too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        bound = f"at least {least}" if kind == "too_short" else f"at most {most}"
        return (
            f"must have {bound} {'item' if (least or most) == 1 else 'items'}, got {context['actual_length']}"
        )
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return f"{detail['msg']}, got {describe_value(value)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
