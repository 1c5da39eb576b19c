from __future__ import annotations

import math
import random

import pytest
from random_records import (
    COMPARABLE,
    header_of,
    random_experiment,
    random_records,
)

from trainables.specs.workload import Direction, ValueRule
from trainables.training.state import BestReport
from tuning.ledger.history import History
from tuning.ledger.records import ReportRecord
from tuning.ranking.standing import Objective, Standing, kept_report, reached, standing, standing_at

BEST = Objective("dice", Direction.MAXIMIZE, ValueRule.BEST)
LAST = Objective("dice", Direction.MAXIMIZE, ValueRule.LAST)
LOWEST = Objective("loss", Direction.MINIMIZE, ValueRule.BEST)


def reports(*values: float | None) -> list[ReportRecord]:
    """A report every half epoch. The loss is 1 minus the Dice."""
    return [
        ReportRecord(
            trial=0,
            epoch=number / 2,
            step=number,
            objective=None,
            metrics={"dice": value, "loss": None if value is None else 1 - value, "iou": None},
        )
        for number, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize(
    ("objective", "upto", "found"),
    [
        (BEST, None, (0.5, 1.0)),  # the first of equal ones
        (LOWEST, None, (0.5, 1.0)),
        (LAST, None, (0.3, 2.0)),  # a later one without a value does not count
        (BEST, 0.5, (0.25, 0.5)),
        (LAST, 1.5, (0.5, 1.5)),
        (LAST, 1.75, (0.5, 1.5)),
        (BEST, 0.25, None),
    ],
)
def test_the_value_is_that_of_the_best_or_the_last_report(
    objective: Objective, upto: float | None, found: tuple[float, float] | None
) -> None:
    given = standing(reports(0.25, 0.5, 0.5, 0.3, None), objective, upto)
    assert (None if given is None else (given.value, given.epoch)) == found


@pytest.mark.parametrize("objective", [BEST, LAST, LOWEST])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_does_not_count(objective: Objective, number: float) -> None:
    given = standing(reports(number, 0.5, number), objective)
    assert given is not None
    assert (given.value, given.epoch) == (0.5, 1.0)
    assert standing(reports(number, None), objective) is None
    assert standing((), objective) is None


def test_a_standing_holds_the_metrics_of_its_report() -> None:
    assert standing(reports(0.25, 0.5, 0.3), BEST) == Standing(0.5, 1.0, {"dice": 0.5, "loss": 0.5})


def test_epochs_that_differ_by_rounding_are_the_same() -> None:
    third = reports(0.25)[0].model_copy(update={"epoch": 0.1 + 0.2})
    assert standing([third], BEST, upto=0.3) is not None
    assert reached(0.3, 0.1 + 0.2)
    assert reached(0.3, None)
    assert not reached(0.2, 0.3)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("rule", list(ValueRule))
def test_the_engine_keeps_the_first_of_equal_reports_and_gives_the_same_value(
    direction: Direction, rule: ValueRule
) -> None:
    """The engine's `BestReport` follows reports one by one; `standing` reads them from the ledger."""
    rng = random.Random(0)
    ties = 0
    for _ in range(200):
        objective = Objective("dice", direction, rule)
        curve = reports(*(rng.choice((0.1, 0.2, 0.25, 0.25, 0.3)) for _ in range(rng.randint(1, 8))))
        best, saved = BestReport.start(direction), None
        for number, report in enumerate(curve, start=1):
            value = report.metrics["dice"]
            assert value is not None
            before = best.epoch
            best = best.after(value, report.epoch, direction, min_delta=rng.choice((0.0, 0.1)))
            if best.epoch != before:  # as the engine sets `TrialState.improved`
                saved = report.epoch
            known, kept = standing(curve[:number], objective), kept_report(curve[:number], objective)
            assert known is not None
            assert kept is not None
            assert best.objective(value, rule) == known.value
            assert (best.value, best.epoch, saved) == (kept.value, kept.epoch, kept.epoch)
        ties += [report.metrics["dice"] for report in curve].count(best.value) > 1
    assert ties > 20


def test_the_recorded_value_is_that_of_the_reports() -> None:
    """Also after an interruption and a return to an earlier checkpoint."""
    compared = 0
    for seed in range(200):
        rng = random.Random(seed)
        asked = random_experiment(rng)
        history = History.of(header_of(asked), random_records(rng, asked))
        for trial in history.trials.values():
            if trial.outcome in COMPARABLE:
                found = standing(trial.reports, Objective.of(asked.workload))
                assert trial.value == (None if found is None else found.value)
                compared += found is not None
    assert compared > 500


def test_reports_on_smaller_images_have_no_standing() -> None:
    """Dice 0.9 on small images, then 0.4 and 0.5 on the model's own; weights are kept of the last size."""
    small = [r.model_copy(update={"image_size": (32, 32)}) for r in reports(0.9, 0.8)]
    own = [r.model_copy(update={"epoch": r.epoch + 1}) for r in reports(0.4, 0.5)]
    assert standing(small, BEST) is None
    assert standing([*small, *own], BEST, 1.0) is None
    assert kept_report(small, BEST) == Standing(0.9, 0.5, {"dice": 0.9, "loss": pytest.approx(0.1)})
    for found in (standing([*small, *own], BEST), kept_report([*small, *own], BEST)):
        assert found is not None
        assert (found.value, found.epoch) == (0.5, 2.0)
    at = standing_at([*small, *own], BEST, 1.0)
    assert at is not None
    assert (at.value, at.epoch) == (0.9, 0.5)
