"""Wrong values in messages: a little of them, however large they are."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from trainables.data.files.coco_fields import SHOWN, shown


def bomb(levels: int) -> list[Any]:
    """A list of 9 ** levels values, which holds ten lists."""
    held: list[Any] = ["ape"]
    for _ in range(levels):
        held = [held] * 9
    return held


def loop() -> list[Any]:
    held: list[Any] = []
    held.append(held)
    return held


def deep(levels: int) -> list[Any]:
    held: list[Any] = []
    for _ in range(levels):
        held = [held]
    return held


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": [1, "b"]}, '{"a": [1, "b"]}'),
        ("é" * SHOWN, None),
        (date(2026, 1, 2), '"2026-01-02"'),
        ({(1, 2): 3}, "{…"),
        (list(range(100)), None),
        (bomb(9), None),
        (bomb(60), None),
        (loop(), None),
        (deep(100_000), None),
    ],
)
def test_a_value_is_shown_as_json_and_cut_off(value: Any, text: str | None) -> None:
    if text is None:
        assert shown(value).endswith("…")
        assert len(shown(value)) == SHOWN + 1
    else:
        assert shown(value) == text
