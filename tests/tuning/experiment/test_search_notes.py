"""What is said about a search before it starts."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import experiment

from tuning.experiment.search_notes import search_notes

RATE = {"learning_rate": {"float": [1e-5, 1e-1], "log": True}}


@pytest.mark.parametrize(
    ("search", "at_once", "said"),
    [
        ({"tpe": {}, "trials": 5}, 8, []),
        ({"nsga2": {"population": 4}, "trials": 20}, 3, []),
        ({"nsga2": {"population": 4}, "trials": 20}, 4, ["4 trials run at once, and search.nsga2 learns"]),
        ({"nsga2": {}, "trials": 20}, None, ["search.nsga2 learns from 20 trials at a time, and"]),
        ({"cmaes": {}, "trials": 5}, None, []),
        ({"cmaes": {}, "trials": 4}, 2, ["search.cmaes learns from 4 trials at a time, and"]),
        ({"cmaes": {"population": 6}, "trials": 9}, 6, ["6 trials run at once, and search.cmaes learns"]),
        ({"gp": {}, "trials": 10}, None, ["search.gp.startup_trials is 10, and the search has 10 trials"]),
        ({"gp": {}, "trials": 11}, 20, []),
        ({"gp": {}, "trials": 500}, 20, []),
        ({"gp": {}, "trials": 501}, 20, ["search.gp is slow after many trials"]),
    ],
)  # fmt: skip
def test_a_search_that_stays_random_is_pointed_out(
    search: dict[str, Any], at_once: int | None, said: list[str]
) -> None:
    notes = search_notes(experiment(search=search, space=RATE), at_once)
    assert len(notes) == len(said)
    assert all(note.startswith(begin) for note, begin in zip(notes, said, strict=True))


def test_the_number_at_once_is_that_of_the_file_if_no_other_is_known() -> None:
    of = experiment(
        search={"nsga2": {"population": 4}, "trials": 20}, space=RATE, resources={"concurrent": 4}
    )
    assert search_notes(of) == search_notes(of, 4) != []


def test_without_a_space_there_is_nothing_to_say() -> None:
    assert search_notes(experiment(search={"nsga2": {}, "trials": 2}, space={})) == []
