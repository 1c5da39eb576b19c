"""A packed model's passes as they are, recorded and compiled: all train the same trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tests.trainables.conftest import config
from trainables.packing.forwards import Compiled, Forward, Graphs, Plain, draws
from trainables.packing.pack import PackEngine
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

LORA = {"adapter": "lora", "lora": {"rank": 4}, "batch_size": 2, "epochs": 4}


class Recorder:
    """`torch.cuda.make_graphed_callables` without a GPU: inputs and results lie in the same memory."""

    def __init__(self) -> None:
        self.recorded: list[torch.Size] = []
        self.replayed = 0

    def __call__(self, function: Any, inputs: tuple[Tensor, ...], *, allow_unused_input: bool) -> Any:
        assert not torch.is_autocast_enabled("cpu")
        self.recorded.append(inputs[0].shape)
        held, spec = pytree.tree_flatten(function(*inputs))
        held = [tensor.detach().clone() for tensor in held]
        trained = [tensor for tensor in inputs if tensor.requires_grad]
        gradients = [torch.zeros_like(tensor) for tensor in trained]
        recorder = self

        class Replayed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
                recorder.replayed += 1
                for own, new in zip(inputs, given, strict=True):
                    if own.data_ptr() != new.data_ptr():
                        own.copy_(new)
                with torch.enable_grad():
                    ctx.outputs = pytree.tree_leaves(function(*inputs))
                for kept, new in zip(held, ctx.outputs, strict=True):
                    kept.copy_(new.detach())
                return tuple(kept.detach() for kept in held)

            @staticmethod
            def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
                with torch.enable_grad():
                    found = torch.autograd.grad(ctx.outputs, trained, given, allow_unused=allow_unused_input)
                for kept, new in zip(gradients, found, strict=True):
                    kept.zero_() if new is None else kept.copy_(new)
                of = iter(gradients)
                return tuple(next(of).detach() if tensor.requires_grad else None for tensor in inputs)

        return lambda *given: pytree.tree_unflatten(list(Replayed.apply(*given)), spec)  # type: ignore[no-untyped-call]


def started(engine: Engine, **changes: Any) -> TrialState:
    return engine.start(config(json.dumps(LORA | changes)))


def trained(engine: Engine, forward: Forward, precision: str) -> list[Tensor]:
    """The weights of three trials of which one leaves and one joins."""
    pack = PackEngine(engine, forward)
    states = [
        started(engine, precision=precision, seed=seed, learning_rate=rate)
        for seed, rate in enumerate((1e-3, 4e-3, 2e-3))
    ]
    for together in (states[:2], states[1:], states[1:]):
        for _, found in pack.advance(together, steps=3):
            raise AssertionError(found)
    assert all(pack.trusted.values())
    return [p.detach() for state in states for p in state.model.parameters() if p.requires_grad]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_passes_train_the_same_trials_to_the_bit(
    engine_of: Callable[[Task], Engine], precision: str
) -> None:
    engine, recorder = engine_of(Task.SEGMENTATION), Recorder()
    plain = trained(engine, Plain(), precision)
    recorded = trained(engine, Graphs(record=recorder), precision)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))
    assert len(recorder.recorded) == 2  # for each list of trials
    assert recorder.replayed == 9


def test_recorded_and_compiled_passes_can_be_joined(engine_of: Callable[[Task], Engine]) -> None:
    engine, recorder = engine_of(Task.SEGMENTATION), Recorder()
    plain = trained(engine, Plain(), "fp32")
    joined = trained(engine, Graphs(record=recorder, of=Compiled("eager")), "fp32")
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(plain, joined, strict=True))
    assert recorder.replayed == 9


def test_a_model_is_compiled_once_for_trials_that_come_and_go(engine_of: Callable[[Task], Engine]) -> None:
    from torch._dynamo.utils import counters

    engine, compiled = engine_of(Task.SEGMENTATION), Compiled("eager")
    pack = PackEngine(engine, compiled)
    counters.clear()
    states = [started(engine, seed=seed, learning_rate=1e-3 * (1 + seed)) for seed in range(4)]
    made = []
    for together in (states[:2], states[2:], states[1:3]):
        assert list(pack.advance(together, steps=2)) == []
        made.append(counters["stats"]["unique_graphs"])
    assert made[0] > 0
    assert made == [made[0]] * 3


@pytest.mark.parametrize(
    ("changes", "random"),
    [
        ({}, False),
        ({"lora": {"rank": 4, "dropout": 0.1}}, True),
        ({"lora": {"rank": 4, "dora": True}}, True),
        ({"head": {"dropout": 0.2}}, True),
        ({"adapter": "loha", "lora": None}, True),
    ],
)
def test_trials_that_draw_random_numbers_are_not_recorded(
    engine_of: Callable[[Task], Engine], changes: dict[str, Any], random: bool
) -> None:
    engine, recorder = engine_of(Task.SEGMENTATION), Recorder()
    state = started(engine, **changes)
    assert draws(state) == random
    list(PackEngine(engine, Graphs(record=recorder)).advance([state], steps=2))
    assert recorder.recorded == ([] if random else [torch.Size((2, 3, 64, 64))])


def test_steps_from_hidden_states_are_not_recorded(engine_of: Callable[[Task], Engine]) -> None:
    engine, recorder = engine_of(Task.SEGMENTATION), Recorder()
    state = started(engine, adapter="none", lora=None)
    found = list(PackEngine(engine, Graphs(record=recorder)).advance([state], steps=2))
    assert not [each for _, each in found if isinstance(each, Exception)]
    assert (recorder.recorded, state.step) == ([], 2)


def test_a_step_of_several_batches_is_not_recorded(engine_of: Callable[[Task], Engine]) -> None:
    recorder = Recorder()
    engine = engine_of(Task.SEGMENTATION)
    state = started(engine, accumulate=2)
    list(PackEngine(engine, Graphs(record=recorder)).advance([state], steps=2))
    assert state.step == 2
    assert recorder.recorded == []
