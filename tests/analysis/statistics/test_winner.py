from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from analysis.statistics.paired import compare_levels
from analysis.statistics.winner import Choice, choose, difference_of, optimism
from trainables.specs.workload import Direction

NOISE = (0.0, 0.01, -0.01, 0.005, -0.004)
OTHER = (0.003, -0.002, 0.006, -0.005, 0.001)


def chosen(
    means: Mapping[str, float],
    costs: Mapping[str, float | None] | None = None,
    direction: Direction = Direction.MAXIMIZE,
    noises: Sequence[Sequence[float]] = (NOISE, OTHER, NOISE[::-1]),
) -> Choice:
    levels = {
        name: {seed: mean + noise[seed] for seed in range(5)}
        for (name, mean), noise in zip(means.items(), noises, strict=False)
    }
    compared = compare_levels(levels, metric="loss", direction=direction)
    found = choose(compared, costs or dict.fromkeys(means, 1.0))
    assert found is not None
    return found


def test_one_that_is_better_than_every_other_wins_whatever_it_costs() -> None:
    found = chosen({"a": 0.7, "b": 0.9, "c": 0.6}, {"a": 1.0, "b": 100.0, "c": 1.0})
    assert found == Choice("b", True, (), False, ("a", "c"))
    lower = chosen({"a": 0.7, "b": 0.9, "c": 0.6}, direction=Direction.MINIMIZE)
    assert (lower.name, lower.won) == ("c", True)


def test_of_those_not_told_apart_the_cheapest_is_taken() -> None:
    found = chosen({"a": 0.9, "b": 0.901, "c": 0.5}, {"a": 10.0, "b": 20.0, "c": 1.0})
    assert found == Choice("a", False, ("b",), True, ("c",))


def test_at_equal_cost_the_better_mean_is_taken() -> None:
    assert chosen({"a": 0.9, "b": 0.901}).name == "b"
    assert not chosen({"a": 0.9, "b": 0.901}).cheaper
    assert chosen({"a": 0.9, "b": 0.901}, direction=Direction.MINIMIZE).name == "a"


def test_what_costs_an_unknown_number_is_no_cheaper() -> None:
    found = chosen({"a": 0.9, "b": 0.901}, {"a": None, "b": 7.0})
    assert (found.name, found.cheaper) == ("b", False)


def test_the_best_of_a_chain_is_not_said_to_beat_what_it_was_not_shown_to_beat() -> None:
    """a over b and b over c are shown; a over c is not, as c was repeated under other noise."""
    wild = (0.9, -0.5, 0.7, -0.9, 0.4)
    found = chosen({"a": 0.9, "b": 0.7, "c": 0.2}, noises=(NOISE, OTHER, wild))
    assert not found.won
    assert "c" in found.tied


def test_without_results_there_is_nothing_to_take() -> None:
    compared = compare_levels({"a": {1: None}, "b": {1: None}}, metric="x", direction=Direction.MAXIMIZE)
    assert choose(compared, {}) is None


def test_one_candidate_alone_is_taken_and_has_not_won() -> None:
    assert chosen({"a": 0.5}) == Choice("a", False, (), False, ())


def test_a_difference_is_found_in_either_direction() -> None:
    compared = compare_levels(
        {"a": {1: 0.1, 2: 0.2}, "b": {1: 0.3, 2: 0.5}}, metric="x", direction=Direction.MAXIMIZE
    )
    assert difference_of(compared, "a", "b") is difference_of(compared, "b", "a") is not None
    assert difference_of(compared, "a", "c") is None


@pytest.mark.parametrize(("direction", "excess"), [(Direction.MAXIMIZE, 0.1), (Direction.MINIMIZE, -0.1)])
def test_optimism_is_how_much_too_good_the_search_was(direction: Direction, excess: float) -> None:
    (level,) = compare_levels({"a": {1: 0.4, 2: 0.6}}, metric="x", direction=direction).levels
    assert optimism(0.6, level, direction) == pytest.approx(excess)
    assert optimism(None, level, direction) is None
