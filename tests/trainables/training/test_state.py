"""The steps with reports, and what counts as an improvement."""

from __future__ import annotations

import pytest

from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Direction
from trainables.training.state import BestReport, Pace


@pytest.mark.parametrize(("images", "accumulate", "parts"), [(100, 1, 4), (100, 3, 2), (7, 1, 4), (1, 1, 3)])
def test_every_epoch_ends_with_a_report_and_has_as_many_as_asked(
    images: int, accumulate: int, parts: int
) -> None:
    config = TrialConfig(batch_size=4, accumulate=accumulate, epochs=3, reports_per_epoch=parts)
    pace = Pace.of(config, images)
    epochs = [pace.epoch_of(s) for s in range(1, pace.total_steps + 1) if pace.reports_after(s)]
    held = min(parts, pace.steps_per_epoch)
    assert epochs == pytest.approx([(i + 1) / held for i in range(3 * held)])


@pytest.mark.parametrize(("direction", "sign"), [(Direction.MAXIMIZE, 1), (Direction.MINIMIZE, -1)])
def test_small_gains_add_up_to_an_improvement(direction: Direction, sign: int) -> None:
    best, stale = BestReport.start(direction), []
    for step in range(7):
        best = best.after(sign * 0.4 * step, float(step), direction, 1.0)
        stale.append(best.stale)
    assert stale == [0, 1, 2, 0, 1, 2, 0]
    assert best.value == pytest.approx(sign * 2.4)
    assert best.epoch == 6.0


def test_the_first_report_is_the_best_so_far_whatever_its_value() -> None:
    best = BestReport.start(Direction.MAXIMIZE).after(-1e9, 1.0, Direction.MAXIMIZE, 0.5)
    assert (best.value, best.epoch, best.stale) == (-1e9, 1.0, 0)
