"""The settings with which a replaced trial of a population goes on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuning.experiment.sections.scheduler import PbtSpec
from tuning.experiment.space import Space
from tuning.search.explore import explored

SPACE = Space.parse(
    {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "weight_decay": {"float": [0.0, 0.1], "step": 0.05},
        "plateau_patience": {"int": [1, 9]},
        "loss": {"choice": ["dice", "cross_entropy", "log_cosh_dice"]},
        "adapter": {"choice": ["lora", "loha"]},
        "lora.rank": {"choice": [4, 8]},
    }
)
PARAMS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "plateau_patience": 1,
    "loss": "cross_entropy",
    "adapter": "loha",
}
ALL = ("learning_rate", "weight_decay", "plateau_patience", "loss")


def found(*explore: str, resample: float = 0.0, params: dict[str, Any] = PARAMS) -> list[dict[str, Any]]:
    spec = PbtSpec(explore=explore, resample=resample)
    return [explored(SPACE, params, spec, seed=(0, 1, number)) for number in range(60)]


def test_settings_move_a_little_or_to_a_neighbour() -> None:
    moved = found(*ALL)
    assert {round(params["learning_rate"] / 1e-3, 9) for params in moved} == {0.8, 1.2}
    assert {params["weight_decay"] for params in moved} == {0.0, 0.1}
    assert {params["plateau_patience"] for params in moved} == {1, 2}
    assert {params["loss"] for params in moved} == {"dice", "log_cosh_dice"}
    assert {params["adapter"] for params in moved} == {"loha"}


def test_the_same_seed_gives_the_same_settings() -> None:
    assert found(*ALL, resample=0.5) == found(*ALL, resample=0.5)
    assert len({str(params) for params in found("learning_rate", resample=1.0)}) == 60


@pytest.mark.parametrize("rate", [1e-4, 1e-2])
@pytest.mark.parametrize("resample", [0.0, 1.0])
def test_they_stay_in_the_space(rate: float, resample: float) -> None:
    for params in found(*ALL, resample=resample, params=PARAMS | {"learning_rate": rate}):
        assert SPACE.locate(params)[1] == {}


def test_a_setting_at_the_end_of_its_range_moves_into_it() -> None:
    moved = found("learning_rate", params=PARAMS | {"learning_rate": 1e-2})
    assert all(math.isclose(params["learning_rate"], 8e-3) for params in moved)


def test_one_that_does_not_apply_stays_away() -> None:
    assert all("lora.rank" not in params for params in found("lora.rank", "loss"))


def test_nothing_to_change_changes_nothing() -> None:
    one = Space.parse({"learning_rate": {"choice": [1e-3]}})
    assert explored(one, {"learning_rate": 1e-3}, PbtSpec(), seed=(0,)) == {"learning_rate": 1e-3}
