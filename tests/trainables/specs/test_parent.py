from __future__ import annotations

import json
from typing import Any

import pytest

from trainables.specs.parent import IN_TRAINING, changes_in_training, why_not_longer, why_not_warm
from trainables.specs.trial import TrialConfig

BASE: dict[str, Any] = {"adapter": "lora", "lora": {"rank": 8}}


def config(**changes: Any) -> TrialConfig:
    return TrialConfig.model_validate_json(json.dumps(BASE | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-4, "weight_decay": 0.1, "schedule": "constant", "epochs": 3},
        {"batch_size": 2, "seed": 5, "augment": {"invert": 0.5}, "loss": "dice"},
        {"freezing": "frozen"},  # as by default
    ],
)
def test_a_warm_copy_may_change_how_it_trains(changes: dict[str, Any]) -> None:
    assert why_not_warm(config(), config(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lora": {"rank": 4}}, "lora differs"),
        ({"lora": None, "adapter": "loha"}, "adapter, lora differ"),
        ({"freezing": "unfrozen"}, "freezing differs"),
        ({"head": {"kind": "linear"}}, "head differs"),
        ({"targets": ["key"], "blocks": [0, 1]}, "blocks, targets differ"),
    ],
)
def test_a_warm_copy_has_the_weights_of_its_parent(changes: dict[str, Any], named: str) -> None:
    said = why_not_warm(config(), config(**changes))
    assert said is not None
    assert said.startswith(named)


def test_adalora_has_pruned_its_ranks() -> None:
    adalora = config(adapter="adalora", lora=None)
    assert "AdaLoRA" in (why_not_warm(adalora, adalora) or "")
    assert "AdaLoRA" in (why_not_longer(adalora) or "")
    assert why_not_longer(config()) is None


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "augment.invert", "loss_weights.cat"])
def test_what_may_change_while_a_trial_trains(name: str) -> None:
    assert changes_in_training(name)


@pytest.mark.parametrize("name", ["lora.rank", "epochs", "batch_size", "seed", "augment.views", "schedule"])
def test_what_may_not(name: str) -> None:
    assert not changes_in_training(name)


def test_they_are_settings_of_trials() -> None:
    assert TrialConfig.model_fields.keys() >= IN_TRAINING
