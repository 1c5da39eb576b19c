from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy
import pytest

from adaptertune.plain_values import plain
from trainables.specs.workload import ObjectiveSpec
from tuning.experiment.file_errors import dotted_key


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}),
        ((1, (2,)), [1, [2]]),
        (range(3), [0, 1, 2]),
        (Path("data/train"), "data/train"),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        (numpy.float64(0.5), 0.5),
        (numpy.arange(2), [0, 1]),
        (ObjectiveSpec(metric="dice"), {"metric": "dice"}),
    ],
)
def test_values_become_plain(value: Any, expected: Any) -> None:
    found, violations = plain(value)
    assert (found, violations) == (expected, [])
    assert type(found) is type(expected)


def test_what_cannot_be_written_is_reported_by_its_place() -> None:
    wrong = {"a": {"b": [1, {2}]}, "c": float("inf"), 3: "x", "d": b"x"}
    found, violations = plain(wrong)
    assert found == {"a": {"b": [1, None]}, "c": None, "d": None}
    assert {dotted_key(v.path): v.rule.split(",")[-1].strip() for v in violations} == {
        "a.b[1]": "got set",
        "c": "got inf",
        "": "got 3",
        "d": "got bytes",
    }


def test_a_value_that_holds_itself_is_reported() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    _, violations = plain(loop)
    assert [v.rule for v in violations] == ["is nested too deeply: at most 50 levels"]
