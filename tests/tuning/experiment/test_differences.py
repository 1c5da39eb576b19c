from __future__ import annotations

from typing import Any

import pytest
from scripted import experiment

from tuning.experiment.differences import find_differences

SPACE = {"adapter": {"choice": ["lora", "loha"]}, "lora.rank": {"choice": [4, 8]}}


def shown(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in find_differences(experiment(**was), experiment(**now))]


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({}, {}, []),
        ({}, {"name": "other"}, []),
        ({}, {"search": {"trials": 9}}, ["search.trials: 8 → 9"]),
        ({}, {"search": {"trials": 8, "from": ["a"]}}, ['search.from: [] → ["a"]']),
        ({}, {"trial": {"epochs": 3}}, ["trial.epochs: 9 → 3"]),
        ({}, {"trial": {"epochs": 9, "clip_norm": None}}, ["trial.clip_norm: not set → null"]),
        ({}, {"scheduler": {"asha": {}}}, [
            "scheduler.asha.grace_epochs: not set → 1.0", "scheduler.asha.reduction_factor: not set → 3.0",
            "scheduler.asha.rule: not set → rank", "scheduler.asha.within: not set → []",
            "scheduler.asha.rest: not set → false",
        ]),
        ({"space": SPACE}, {"space": SPACE | {"lora.rank": {"choice": [4]}}}, [
            'space.lora.rank: {"choice": [4, 8]} → {"choice": [4]}',
        ]),
        ({"space": SPACE}, {"space": dict(reversed(SPACE.items()))}, [
            'order of space: adapter, lora.rank → lora.rank, adapter',
        ]),
        ({}, {"further": [{"metric": "parameters"}], "constraints": {"peak_mb": {"at_most": 9}}}, [
            "constraints.peak_mb.at_most: not set → 9.0",
            'further objectives: not set → {"metric": "parameters", "mode": null}',
        ]),
        ({}, {"model": {"name": "other/model"}}, ["model.name: embedded → other/model"]),
    ],
)  # fmt: skip
def test_each_key_that_differs_is_named(was: dict[str, Any], now: dict[str, Any], said: list[str]) -> None:
    assert shown(was, now) == said
