from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from recorded import LORA, Told, write

from analysis.errors import NothingToRankError, QueryError
from analysis.query.sweep import Sweep
from analysis.ranking.cost import Cost
from analysis.ranking.pareto import Point, front, pareto
from trainables.specs.workload import Direction
from tuning.ledger.records import Outcome, ScoredRecord


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
