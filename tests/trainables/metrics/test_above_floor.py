"""The one rule of what lies above a floor."""

from __future__ import annotations

import math

import pytest

from trainables.metrics.above_floor import (
    above_floor,
    better_than_baseline,
    collapsed,
    relative_robustness,
)
from trainables.specs.definitions import BEFORE, Definitions

NOW = Definitions()


def test_nothing_is_below_the_floor() -> None:
    assert above_floor(0.5, 0.2) == pytest.approx(0.3)
    assert above_floor(0.1, 0.2) == 0.0
    assert math.isnan(above_floor(math.nan, 0.2))


@pytest.mark.parametrize(
    ("interval", "expected"), [(None, None), ((0.01, 0.2), False), ((0.0, 0.2), True), ((-0.1, 0.2), True)]
)
def test_collapsed_unless_the_interval_lies_above_0(
    interval: tuple[float, float] | None, expected: bool | None
) -> None:
    assert collapsed(interval) is expected


def test_two_models_below_the_floor_are_equally_bad() -> None:
    assert not better_than_baseline(0.43, 0.44, 0.10)
    assert better_than_baseline(0.50, 0.44, 0.10)
    assert better_than_baseline(0.2, None, 0.1), "without a floor, the values themselves"


def test_robustness_is_measured_above_the_floors() -> None:
    """A constant predictor's 0.44 of 0.47 was a robustness of 0.94; it is 0."""
    found = relative_robustness(
        0.8,
        {"stain": 0.44, "blur": 0.6, "none": None},
        definitions=NOW,
        own_floor=0.4,
        floors={"stain": 0.45, "blur": 0.4},
    )
    assert found == pytest.approx({"stain": 0.0, "blur": 0.5})
    assert relative_robustness(0.3, {"a": 0.6}, definitions=NOW, own_floor=0.4) == {"a": 0.0}
    assert math.isnan(relative_robustness(0.8, {"a": math.nan}, definitions=NOW)["a"])
    assert math.isnan(relative_robustness(math.nan, {"a": 0.5}, definitions=NOW)["a"])
    assert relative_robustness(None, {"a": 0.5}, definitions=NOW) == {}


def test_a_record_of_before_keeps_its_robustness() -> None:
    found = relative_robustness(0.8, {"a": 0.4}, definitions=BEFORE, own_floor=0.4, floors={"a": 0.4})
    assert found == {"a": 0.5}
    assert relative_robustness(0.0, {"a": 0.4}, definitions=BEFORE) == {"a": 0.0}
