"""Quasi-random sequences: every configuration is a point of one sequence."""

from __future__ import annotations

import json
import math
from typing import Any

from spaces import CONDITIONAL, EIGHTY

from trainables.specs.workload import Direction
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.search.proposal import Proposal
from tuning.search.study import Study

FLAT = Space.parse({"learning_rate": {"float": [0.0, 1.0]}, "warmup": {"float": [0.0, 1.0]}})


def proposals(space: Space, trials: int, **qmc: Any) -> list[Proposal]:
    spec = SearchSpec.model_validate_json(json.dumps({"qmc": qmc, "seed": 3}))
    of = Study(space, spec, name="sweep", direction=Direction.MAXIMIZE, trials=trials)
    return [p for _ in range(trials) if isinstance(p := of.propose(), Proposal)]


def test_the_first_sixteen_points_are_one_in_each_of_sixteen_cells() -> None:
    for sides in ((4, 4), (16, 1), (1, 16)):
        cells = {
            (math.floor(float(str(p.params["learning_rate"])) * sides[0]),
             math.floor(float(str(p.params["warmup"])) * sides[1]))
            for p in proposals(FLAT, 16)
        }  # fmt: skip
        assert len(cells) == 16


def test_without_scrambling_it_begins_in_a_corner() -> None:
    first, second = (p.params for p in proposals(FLAT, 2, scramble=False))
    assert (first, second) == (
        {"learning_rate": 0.0, "warmup": 0.0},
        {"learning_rate": 0.5, "warmup": 0.5},
    )
    halton = proposals(FLAT, 3, sequence="halton", scramble=False)[2].params
    assert halton == {"learning_rate": 0.25, "warmup": 2 / 3}


def test_conditional_settings_are_evenly_spread_too() -> None:
    made = [p.params for p in proposals(CONDITIONAL, 64)]
    kinds = [params["adapter"] for params in made]
    assert all(abs(kinds.count(kind) - 64 / 3) <= 3 for kind in ("lora", "adalora", "none"))
    ranks = [params["lora.rank"] for params in made if params["adapter"] == "lora"]
    assert set(ranks) == set(range(1, 9))


def test_the_place_in_the_sequence_is_part_of_the_proposal() -> None:
    made = proposals(EIGHTY, 40)
    assert made[0].sampler is not None
    (place,) = made[0].sampler.study.values()
    assert place == 0
    places = [next(iter(p.sampler.study.values())) for p in made if p.sampler is not None and p.sampler.study]
    assert places == sorted(places)
    assert int(str(places[-1])) > 39  # points whose configuration was tried before are left out
