"""Steps of a pack that run out of memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trainables.conftest import config
from trainables.packing.gain import Gain
from trainables.packing.group import group_of
from trainables.packing.pack import PackEngine
from trainables.packing.stacked import PackedModel
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]
LORA = '{"adapter": "lora", "epochs": 4, "batch_size": 4, "seed": SEED, "learning_rate": 0.01}'


def started(engine: Engine, count: int) -> list[TrialState]:
    return [engine.start(config(LORA.replace("SEED", str(seed)))) for seed in range(count)]


def advance(pack: PackEngine, states: list[TrialState], steps: int) -> None:
    for _ in range(steps):
        for _, found in pack.advance(states, steps=1):
            assert not isinstance(found, Exception), found


def trained(state: TrialState) -> list[torch.Tensor]:
    return [p.detach().clone() for p in (state.parts.adapter | state.parts.head).values()]


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trials fit into a step, as the last element; one of more fails in its backward pass."""
    losses, held = PackedModel.losses, [99]

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, __: torch.Tensor) -> Any:
            raise torch.OutOfMemoryError("scripted")

    def limited(model: PackedModel, lanes: Any, batches: Any) -> Any:
        found = losses(model, lanes, batches)
        # The first trial's gradients are there by then.
        return torch.cat([found[:-1], Fails.apply(found[-1:])]) if len(lanes) > held[-1] else found

    monkeypatch.setattr(PackedModel, "losses", limited)
    return held


@pytest.mark.parametrize(("fit", "limit"), [(4, 3), (2, 2), (1, 1)])
def test_trials_go_on_in_parts_and_compute_the_same(
    engine_of: EngineOf, most: list[int], fit: int, limit: int
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    plain = started(engine, 5)
    advance(PackEngine(engine), plain, 3)
    pack, states = PackEngine(engine), started(engine, 5)
    most.append(fit)
    advance(pack, states, 3)
    assert list(pack.limits.values()) == [limit]
    for one, other in zip(plain, states, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(trained(one), trained(other), strict=True))


def test_one_that_does_not_fit_into_a_pack_computes_what_it_does_alone(
    engine_of: EngineOf, most: list[int]
) -> None:
    """No gradient of the failed attempt is added to those of the step."""
    engine = engine_of(Task.SEGMENTATION)
    (plain,) = started(engine, 1)
    list(engine.advance([plain], steps=2))
    pack, states = PackEngine(engine), started(engine, 1)
    most.append(0)
    advance(pack, states, 2)
    assert states[0].step == 2
    assert all(torch.equal(a, b) for a, b in zip(trained(plain), trained(states[0]), strict=True))


def test_what_the_failed_step_computed_is_freed_before_it_is_tried_in_halves(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, alive, seen = PackedModel.losses, [], []

    def limited(model: PackedModel, lanes: Any, batches: Any) -> Any:
        seen.append([ref() is not None for ref in alive])
        found = losses(model, lanes, batches)
        if len(lanes) > 1:
            computed = found * 1
            alive.append(weakref.ref(computed))
            raise torch.OutOfMemoryError("scripted")
        return found

    monkeypatch.setattr(PackedModel, "losses", limited)
    engine = engine_of(Task.SEGMENTATION)
    pack, states = PackEngine(engine), started(engine, 2)
    group = group_of(states[0].config)
    assert group is not None
    pack.gains[group] = Gain(lanes=2, together_s=1.0, alone_s=2.0)
    advance(pack, states, 1)
    assert seen[-2:] == [[False], [False]]


def test_what_does_not_pay_for_few_trials_is_compared_again_for_more(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    pack, states = PackEngine(engine), started(engine, 3)
    group = group_of(states[0].config)
    assert group is not None
    slow = Gain(lanes=2, together_s=2.0, alone_s=1.0)
    pack.gains[group] = slow
    advance(pack, states[:2], 1)
    assert [state.spent.lanes for state in states] == [1, 1, 1]
    advance(pack, states, 20)
    assert pack.gains[group].lanes == 3
