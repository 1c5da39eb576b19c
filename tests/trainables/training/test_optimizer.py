"""The optimizer of a trial."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.trainables.conftest import config
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.optimizer import Mover, excess, make_optimizer

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


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam])
@pytest.mark.parametrize("clip_norm", [0.3, None])
def test_steps_are_those_of_torch_also_after_loading_a_state_and_with_other_gradients(
    kind: type[torch.optim.Optimizer], clip_norm: float | None
) -> None:
    sizes = [(4, 3), (5,), (2, 2)]
    torch.manual_seed(0)
    start = [torch.randn(size) for size in sizes]
    pairs = [[nn.Parameter(value.clone()) for value in start] for _ in range(2)]
    ours, theirs = (
        kind([{"params": own[:2], "lr": 0.1}, {"params": own[2:], "lr": 0.3}], weight_decay=0.1, fused=True)
        for own in pairs
    )
    mover = Mover(ours)
    for step in range(6):
        gradients = [torch.randn(size) * (step + 1) for size in sizes]
        moving = pairs[0] if step != 3 else pairs[0][:1]  # as when the backbone is frozen again
        for own in pairs:
            for parameter, gradient in zip(own[: len(moving)], gradients, strict=False):
                parameter.grad = gradient.clone()
        norms = torch.stack([g.norm() for g in mover.gradients()])
        mover.step(None if clip_norm is None else excess(norms, clip_norm))
        mover.forget()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(pairs[1], clip_norm)
        theirs.step()
        theirs.zero_grad()
        if step == 1:
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
            assert one.grad is None


@pytest.mark.parametrize("head", ["null", "1e-2"])
def test_groups_of_one_rate_move_in_one_call_as_in_two(engine_of: EngineOf, head: str) -> None:
    asked = config(f'{{"adapter": "lora", "learning_rate": 1e-3, "head_learning_rate": {head}}}')
    engine = engine_of(Task.SEGMENTATION)
    ours, theirs = (engine.start(asked) for _ in range(2))
    for step in range(3):
        torch.manual_seed(step)
        pairs = zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
        for own, other in pairs:
            if own.requires_grad:
                own.grad = torch.randn_like(own)
                other.grad = own.grad.clone()
        for state in (ours, theirs):
            for group in state.optimizer.param_groups:
                group["lr"] = group["base_lr"] / (1 + step)
        ours.mover.step(None)
        theirs.optimizer.step()
    for own, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(own, other)
