"""How PEFT's methods match a layer's name with the keys of `…_pattern` arguments; torch is not needed."""

from __future__ import annotations

import re
from collections.abc import Iterable

AFTER_A_DOT = frozenset({"C3A", "FOURIERFT"})
"""Methods whose keys match only after a dot in the name."""


def first_match(method: str, keys: Iterable[str], layer: str) -> str | None:
    """The key that counts for a layer: the first that matches its name; None if none does.

    method: the name of a PeftType.  Raises re.error for a key that is no regular expression.
    """
    return next((key for key in keys if _matches(method, key, layer)), None)


def _matches(method: str, key: str, layer: str) -> bool:
    if method == "OSF":
        return re.search(key, layer) is not None
    if method in AFTER_A_DOT:
        return re.match(rf".*\.{key}$", layer) is not None
    return re.match(rf"(.*\.)?({key})$", layer) is not None
