from __future__ import annotations

import pytest

from trainables.packing.capacity import MOST_LANES, most_in_flight, within
from trainables.specs.pack import Packing, WhyLanes


@pytest.mark.parametrize(
    ("batch_size", "threads", "expected"),
    [
        (16, 1, (8, WhyLanes.IMAGES)),
        (16, 2, (16, WhyLanes.IMAGES)),
        (2, 1, (MOST_LANES, WhyLanes.MOST)),
        (200, 1, (1, WhyLanes.IMAGES)),
    ],
)
def test_images_in_flight(batch_size: int, threads: int, expected: tuple[int, WhyLanes]) -> None:
    assert most_in_flight(batch_size, threads=threads) == expected


@pytest.mark.parametrize(
    ("there", "fit"), [(0, 1), (30, 1), (40, 2), (79, 2), (80, 4), (159, 4), (160, 8), (320, 16)]
)
def test_what_fits_is_a_power_of_two(there: int, fit: int) -> None:
    """A step may need twice what it keeps, of 10 bytes here."""
    assert within(there, 10) == fit


def test_what_is_said() -> None:
    plain = Packing(group="g", lanes=8, why=WhyLanes.IMAGES, lane_mb=40.4)
    assert (
        plain.told
        == "8 trials at once in a worker (more images in flight on a thread gain little); 40.4 MB a trial"
    )
    timed = plain.model_copy(update={"timed": 6, "together_ms": 2.3, "alone_ms": 3.8})
    assert "1.7× the speed of one at a time (2.3 against 3.8 ms a trial's step, 6 trials)" in timed.told
    slower = timed.model_copy(update={"together_ms": 4.0})
    assert "packing does not pay, so steps are taken one trial at a time (4.0 against 3.8 ms" in slower.told
    large = plain.model_copy(update={"lane_mb": 1234.5, "timed": 6, "together_ms": 105.0, "alone_ms": 2000.0})
    assert "19× the speed" in large.told
    assert "(105 against 2,000 ms a trial's step, 6 trials); 1,234 MB a trial" in large.told
    assert Packing(group="g", lanes=1, why=WhyLanes.DIFFERS).told.startswith(
        "one trial at a time in a worker"
    )
