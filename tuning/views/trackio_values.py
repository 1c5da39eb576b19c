"""Values of parameters as Trackio takes them.

Trackio reads the texts NaN, Infinity and -Infinity back as numbers, and holds whole numbers of 64 bits.
"""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

_READ_AS_NUMBERS = ("NaN", "Infinity", "-Infinity")
_JSON = '""'
"""Before the JSON of a value that is no text; the JSON of a text that is quoted never begins like this."""
_WHOLE = re.compile(r"-?[0-9]{19,}")


def trackio_value(value: JsonValue) -> JsonValue:
    """A value, or its JSON text where Trackio would read another value or refuse it.

    Text that begins with a quotation mark is quoted too, so that `recorded_value` can tell.
    """
    if isinstance(value, str):
        return json.dumps(value) if value in _READ_AS_NUMBERS or not _plain(value) else value
    text = json.dumps(value)
    return _JSON + text if _WHOLE.search(text) or "\\u" in text else value


def recorded_value(value: JsonValue) -> JsonValue:
    """The value that `trackio_value` was given."""
    if not isinstance(value, str) or not value.startswith('"'):
        return value
    found: JsonValue = json.loads(value.removeprefix(_JSON))
    return found


def _plain(text: str) -> bool:
    """Whether text stands for itself; half a surrogate pair cannot be written."""
    return not text.startswith('"') and not any("\ud800" <= char <= "\udfff" for char in text)
