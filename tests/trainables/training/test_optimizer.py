"""The optimizer of a trial."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.trainables.conftest import config
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.optimizer import make_optimizer

EngineOf = Callable[[Task], Engine]


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)], ids=["adamw", "adam"]
)
def test_the_optimizer_is_the_one_asked_for(engine_of: EngineOf, name: str, kind: type) -> None:
    asked = config(f'{{"adapter": "lora", "optimizer": "{name}", "weight_decay": 0.25}}')
    made = make_optimizer(engine_of(Task.SEGMENTATION).start(asked).parts, asked)
    assert type(made) is kind
    assert {group["weight_decay"] for group in made.param_groups} == {0.25}


def test_separate_rates_reach_their_parts(engine_of: EngineOf) -> None:
    asked = config('{"adapter": "lora", "learning_rate": 1e-3, "head_learning_rate": 1e-2}')
    state = engine_of(Task.SEGMENTATION).start(asked)
    rates = {
        name: group["base_lr"]
        for group in state.optimizer.param_groups
        for name, p in state.model.named_parameters()
        if any(p is q for q in group["params"])
    }
    assert {rates[n] for n in state.parts.head} == {1e-2}
    assert {rates[n] for n in state.parts.adapter} == {1e-3}


def test_a_part_without_parameters_makes_no_group(engine_of: EngineOf) -> None:
    asked = config('{"adapter": "none", "freezing": "head_only"}')
    state = engine_of(Task.SEGMENTATION).start(asked)
    assert len(make_optimizer(state.parts, asked).param_groups) == 1
