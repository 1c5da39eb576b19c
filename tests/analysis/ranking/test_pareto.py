from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from recorded import LORA, Told, write

from analysis.errors import NothingToRankError, QueryError
from analysis.query.sweep import Sweep
from analysis.ranking.cost import Cost
from analysis.ranking.pareto import Point, front, pareto, pareto_json, pareto_table
from trainables.specs.workload import Direction
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import ScoredRecord


def told(rank: int, value: float, adapter: int, outcome: Outcome = Outcome.COMPLETED) -> Told:
    parts = {"adapter": adapter, "head": 1000, "backbone": 0, "total": 10_000}
    return Told(
        LORA | {"lora.rank": rank, "learning_rate": 0.001 * rank}, (value,) * 6, outcome, parameters=parts
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    trials = (
        told(4, 0.50, 100),
        told(8, 0.60, 200),
        told(16, 0.55, 400),  # more expensive and worse than the one before
        told(2, 0.60, 300),  # more expensive and no better
        told(6, 0.90, 10, Outcome.PRUNED),
        told(5, 0.70, 900),
    )
    return Sweep.at(write(tmp_path / "s", trials))


def test_what_another_beats_is_not_on_the_front(sweep: Sweep) -> None:
    found = pareto(sweep)
    assert [(p.trial, p.value, p.cost) for p in found.front] == [
        (0, 0.5, 1100),
        (1, 0.6, 1200),
        (5, 0.7, 1900),
    ]
    assert len(found.points) == 5
    assert found.left_out == {"pruned": 1}


def test_the_front_holds_what_no_pair_rules_out() -> None:
    rng = np.random.default_rng(0)
    points = [Point(i, float(rng.integers(6)), float(rng.integers(6)), {}) for i in range(60)]
    for direction in Direction:
        found = front(points, direction)

        def beats(a: Point, b: Point, direction: Direction = direction) -> bool:
            no_worse = a.cost <= b.cost and not direction.better(b.value, a.value)
            return no_worse and (a.cost < b.cost or direction.better(a.value, b.value))

        unbeaten = {(p.value, p.cost) for p in points if not any(beats(q, p) for q in points)}
        assert {(p.value, p.cost) for p in found} == unbeaten
        assert all(
            a.cost < b.cost and direction.better(b.value, a.value) for a, b in itertools.pairwise(found)
        )


def test_trials_that_ran_to_their_own_end_are_weighed_and_the_others_counted(sweep: Sweep) -> None:
    found = pareto(sweep)
    assert (found.front[0].trial, found.front[0].value, found.front[0].cost) == (0, 0.5, 1100)
    assert [point in found.front for point in found.points] == [True, True, False, False, True]
    assert found.left_out == {"pruned": 1}


def test_cost_in_seconds_is_what_training_took(sweep: Sweep) -> None:
    assert "seconds of training" in Cost.SECONDS.label
    assert {point.cost for point in pareto(sweep, Cost.SECONDS).points} == {54.0}


def test_latency_is_that_of_the_trials_that_were_scored(tmp_path: Path) -> None:
    told_scores = [
        ScoredRecord(trial=n, epoch=6, metrics={"dice": 0.4}, latency_ms=ms) for n, ms in ((0, 2.5), (1, 1.5))
    ]
    folder = write(
        tmp_path / "s", [told(4, 0.5, 100), told(8, 0.4, 200), told(16, 0.55, 400)], scores=told_scores
    )
    found = pareto(Sweep.at(folder), Cost.LATENCY)
    assert [(p.trial, p.cost) for p in found.front] == [(1, 1.5), (0, 2.5)]
    assert found.left_out == {"completed": 1}
    assert "timed one by one, by an earlier version" in pareto_table(found).caption


def timed(number: int, low: float, middle: float, high: float) -> ScoredRecord:
    return ScoredRecord(
        trial=number,
        epoch=6,
        metrics={"dice": 0.4},
        latency_ms=middle,
        latency_low_ms=low,
        latency_high_ms=high,
    )


def test_latencies_whose_ranges_overlap_are_no_step_of_the_front(tmp_path: Path) -> None:
    trials = [told(4, 0.5, 100), told(8, 0.6, 200), told(16, 0.4, 300), told(2, 0.3, 400)]
    # Trial 0 is no faster than 1 beyond the ranges, trial 2 is; 3 is as fast as 2 and worse.
    scores = [
        timed(0, 5.0, 5.4, 6.0),
        timed(1, 5.9, 6.1, 6.4),
        timed(2, 3.0, 3.5, 4.0),
        timed(3, 2.0, 3.0, 3.1),
    ]
    found = pareto(Sweep.at(write(tmp_path / "s", trials, scores=scores)), Cost.LATENCY)
    assert [p.trial for p in found.front] == [2, 1]
    table = pareto_table(found)
    assert [row[2] for row in table.rows] == ["3.5 (3 to 4)", "6.1 (5.9 to 6.4)"]
    assert "count as equally fast" in table.caption
    assert '"cost_range": [5.0, 6.0]' in json.dumps(pareto_json(found))


def test_the_front_with_ranges_holds_what_no_pair_rules_out() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        points = []
        for number in range(12):
            low, middle, high = sorted(float(x) for x in rng.integers(0, 12, size=3))
            points.append(Point(number, float(rng.integers(5)), middle, {}, (low, high)))
        for direction in Direction:
            found = front(points, direction)
            for point in points:
                beaten = any(
                    direction.better(other.value, point.value) and other.least <= point.most
                    for other in points
                )
                assert not (beaten and point in found)
                assert beaten or any(kept.value == point.value and kept.cost <= point.cost for kept in found)
            assert all(
                a.most < b.least and direction.better(b.value, a.value) for a, b in itertools.pairwise(found)
            )


def test_a_cost_that_is_not_on_record_is_said(tmp_path: Path) -> None:
    unbuilt = Told(LORA | {"lora.rank": 4, "learning_rate": 0.002}, (0.5,) * 6, parameters={})
    with pytest.raises(NothingToRankError, match="with trainable parameters on record"):
        pareto(Sweep.at(write(tmp_path / "s", [unbuilt])))


def test_an_unknown_metric_and_no_finished_trial_are_said(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="recorded are dice"):
        pareto(sweep, metric="map")
    stopped = Sweep.at(write(tmp_path / "t", [told(4, 0.5, 100, Outcome.PRUNED)]))
    with pytest.raises(NothingToRankError, match="no trial has run to its own end"):
        pareto(stopped)
