"""The fields of COCO JSON as values: read strictly, but as what they clearly mean.

Converters write numbers as text ("0", "1.0") and leave fields null. A value that could mean
something else is never guessed: it is not known, or an error that names the field.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from trainables.errors import DataError

Key = int | str
"""The id of an image or a category."""
NOT_A_BOX = [math.nan] * 4
LARGEST = 1e9
"""The largest valid side of a box, in pixels."""
SHOWN = 60
"""Characters of a wrong value that a message shows."""
EXACT = 2**53
"""Below, a float holds every whole number; from here on, two ids may have become one."""
_WHOLE = re.compile(r"\s*([+-]?\d+)(?:\.0*)?\s*")
_ENCODER = json.JSONEncoder(default=str, check_circular=False)
"""Of a value that holds itself, as YAML allows, only as much as is shown is looked at."""
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no", ""})


def number(value: Any) -> float:
    """The value as a float; NaN if it is no number, or too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and "_" in value:  # Python reads "1_0" as 10
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def whole_number(value: Any) -> int | None:
    """The value as an int if it is one, also as `"7"`, `7.0` or `"7.0"`; None for a float from `EXACT` on."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < EXACT else None
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else int(match[1])


def flag(value: Any, where: str) -> bool:
    """A yes or no that is written as 0 or 1, also as text; null is no. Raises DataError for all else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if (known := whole_number(value)) in (0, 1):
        return known == 1
    if isinstance(value, str) and value.strip().lower() in _YES | _NO:
        return value.strip().lower() in _YES
    raise DataError(f"{where} must be 0 or 1, got {shown(value)}")


def box(value: Any) -> list[float]:
    """Four finite numbers, or NOT_A_BOX."""
    if not isinstance(value, list) or len(value) != 4:
        return NOT_A_BOX
    numbers = [number(v) for v in value]
    return numbers if all(abs(v) < LARGEST for v in numbers) else NOT_A_BOX


def key(value: Any) -> Key | None:
    """An id: a whole number or a text; None for anything else."""
    if isinstance(value, str):
        return value
    return whole_number(value)


def not_a_key(value: Any) -> str:
    """What is wrong with an id that `key` does not know, as the end of a message."""
    large = isinstance(value, float) and math.isfinite(value) and abs(value) >= EXACT
    why = "; floats do not hold every whole number of that size, so write it without a point" if large else ""
    return f"must be a whole number or a string, got {shown(value)}{why}"


def shown(value: Any) -> str:
    """A value as JSON, shortened for a message. Of a large one only what is shown is looked at."""
    text = ""
    try:
        for part in _ENCODER.iterencode(value):
            text += part
            if len(text) > SHOWN:
                return text[:SHOWN] + "…"
    except TypeError:  # a key that YAML allows and JSON does not
        return text + "…"
    return text


class Keys:
    """The declared ids, which also know themselves written in another type: 1, 1.0 and "1"."""

    def __init__(self, declared: Iterable[Key]) -> None:
        """An id that another one could be taken for is only known as it is written."""
        self._exact = dict.fromkeys(declared)
        loose = [(_loose(k), k) for k in self._exact]
        often = Counter(text for text, _ in loose)
        self._loose = {text: k for text, k in loose if often[text] == 1}

    def find(self, value: Any) -> Key | None:
        """The declared id that `value` means, or None."""
        if (asked := key(value)) is None:
            return None
        return asked if asked in self._exact else self._loose.get(_loose(asked))

    @property
    def all(self) -> set[Key]:
        """The declared ids."""
        return set(self._exact)

    @property
    def kind(self) -> str:
        """The type of the ids, for messages."""
        return kind_of(self._exact)


def _loose(value: Key) -> str:
    return str(number_) if (number_ := whole_number(value)) is not None else str(value).strip()


def kind_of(values: Iterable[Any]) -> str:
    """The types of some ids, for messages."""
    names = {"text" if isinstance(value, str) else "number" for value in values}
    return " and ".join(sorted(names)) or "none"
