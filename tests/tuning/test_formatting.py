from __future__ import annotations

import pytest

from tuning.formatting import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(48, "48 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (None, "–")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (65, "1 min 05 s"), (7620, "2 h 07 min"), (3.6e6, "1,000 h 00 min")]
)
def test_durations_of_a_report(seconds: float, text: str) -> None:
    assert duration(seconds) == text
