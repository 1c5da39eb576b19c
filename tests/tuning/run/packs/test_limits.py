from __future__ import annotations

from typing import Any

import pytest
from scripted import experiment

from tuning.run.packs.limits import Limits, free_lanes, limits_of, trials_at_once

ASHA = {"asha": {"grace_epochs": 1.0}}


def of(**parts: Any) -> Limits | None:
    given = experiment(**parts)
    return limits_of(given.resources, given.search, given.scheduler, trials=given.trials_asked)


@pytest.mark.parametrize(
    ("packing", "gpus", "packed"),
    [("off", 0, False), ("auto", 0, True), (3, 1, True), ("auto", 2, True), ("auto", 0.5, False)],
)
def test_there_are_no_packs_where_they_are_off_or_workers_share_a_gpu(
    packing: Any, gpus: float, packed: bool
) -> None:
    assert (of(resources={"packing": packing, "gpus": gpus}) is not None) is packed


@pytest.mark.parametrize(
    ("search", "scheduler", "learns"),
    [
        ({"random": {}}, {}, False),
        ({"random": {}}, ASHA, True),
        ({"tpe": {}}, {}, True),
        ({"grid": {}}, {"median": {}}, True),
    ],
)
def test_what_learns_from_results(search: Any, scheduler: Any, learns: bool) -> None:
    limits = of(search=search | {"trials": 8}, scheduler=scheduler, resources={"packing": "auto"})
    assert limits is not None
    assert (limits.learns, limits.trials) == (learns, 8)


@pytest.mark.parametrize(
    ("limits", "packs", "lanes", "left", "expected"),
    [
        (Limits("auto", learns=False, trials=32), 2, 8, 32, 16),
        (Limits("auto", trials=32), 2, 8, 32, 8),  # a quarter of all trials
        (Limits("auto", trials=8), 4, 8, 8, 4),  # but each worker has one
        (Limits("auto", trials=None), 2, 8, None, 16),
        (Limits(8, trials=32), 2, 8, 32, 16),  # as asked for
        (Limits(8, concurrent=5, trials=32), 2, 8, 32, 5),
        (Limits(8, trials=32), 2, 8, 3, 3),  # the last ones
        (Limits(8, trials=32), 2, 8, 0, 1),
        (Limits("auto", concurrent=3, learns=False), 1, 1, None, 1),
    ],
)
def test_trials_at_once(limits: Limits, packs: int, lanes: int, left: int | None, expected: int) -> None:
    assert trials_at_once(limits, packs=packs, lanes=lanes, left=left) == expected


@pytest.mark.parametrize(
    ("at_once", "packs", "lanes", "sizes"),
    [
        (6, 2, 8, [3, 3]),
        (7, 2, 8, [4, 3]),
        (16, 2, 8, [8, 8]),
        (16, 2, 4, [4, 4]),
        (4, 3, 8, [2, 1, 1]),
        (2, 3, 8, [1, 1, 0]),
    ],
)
def test_trials_are_spread_evenly(at_once: int, packs: int, lanes: int, sizes: list[int]) -> None:
    """Whichever pack is filled first, and though the others are not there yet."""
    given = [0] * packs
    for i in range(packs):
        others = given[:i] + given[i + 1 :]
        given[i] = free_lanes(at_once, packs=packs, lanes=lanes, size=0, others=others)
    assert given == sizes
    for i in range(packs):
        others = given[:i] + given[i + 1 :]
        assert free_lanes(at_once, packs=packs, lanes=lanes, size=given[i], others=others) <= 0


def test_there_are_no_packs_where_images_become_larger() -> None:
    scheduler = {"asha": {"grace_epochs": 1.0, "fidelity": "resolution"}}
    assert of(scheduler=scheduler, resources={"packing": "auto"}) is None
