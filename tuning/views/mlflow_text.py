"""Names and values as MLflow takes them: short text of few characters, reversible.

A parameter is text in MLflow, written once, and cut without a word at 6,000 characters; names end at 250.
Longer text is cut by us, with its hash, and is whole in the run's tags.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from pydantic import JsonValue

from tuning.views.names import MLFLOW

NAME_CHARS = 250
VALUE_CHARS = 6000
LONG = "adaptertune.long."
"""Tags such as `adaptertune.long.HASH.0` hold the pieces of a text that is too long for its place."""
_PIECE = 5000
_MARK = re.compile(r":cut-([0-9a-f]{32}):$")


def fit(text: str, limit: int) -> tuple[str, dict[str, str]]:
    """The text, at most `limit` characters of it, and the tags that hold all of it if it was cut."""
    if len(text) <= limit and not _MARK.search(text):
        return text, {}
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    mark = f":cut-{digest}:"
    written = json.dumps(text)
    pieces = [written[at : at + _PIECE] for at in range(0, len(written), _PIECE)]
    # A name must stay a normalized path, so the cut is not after a slash, a dot or a space.
    start = text[: limit - len(mark)].rstrip("/. ")
    return start + mark, {f"{LONG}{digest}.{number}": piece for number, piece in enumerate(pieces)}


def whole(text: str, tags: Mapping[str, str]) -> str:
    """The text that `fit` was given. tags: those of the run."""
    if (found := _MARK.search(text)) is None:
        return text
    pieces: list[str] = []
    while (piece := tags.get(f"{LONG}{found[1]}.{len(pieces)}")) is not None:
        pieces.append(piece)
    return str(json.loads("".join(pieces))) if pieces else text


def metric_name(name: str) -> tuple[str, dict[str, str]]:
    """A name of the record as a key in MLflow, and its tags."""
    return fit(MLFLOW.encode(name), NAME_CHARS)


def recorded_name(key: str, tags: Mapping[str, str]) -> str:
    """The name of the record that `metric_name` was given."""
    return MLFLOW.decode(whole(key, tags))


def value_text(value: JsonValue) -> str:
    """A value as text: text as it stands unless it reads as something else, JSON otherwise.

    `1`, `1.0` and the text "1" differ: MLflow refuses a parameter that is written again as another text.
    """
    if isinstance(value, str) and value.isprintable() and not _is_json(value):
        return value
    return json.dumps(value)


def recorded_value(text: str) -> JsonValue:
    """The value that `value_text` was given."""
    try:
        found: JsonValue = json.loads(text)
    except ValueError:
        return text
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
