"""Everything that decides a method's next numbers is in a trial's state, for every method of PEFT."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.adapters.families.test_passthrough import SMALL
from trainables.adapters.families.passthrough import offered_methods
from trainables.adapters.generators import held_generators
from trainables.adapters.inject import Adapted, inject_adapter
from trainables.adapters.layout import layout_of
from trainables.specs.trial import TrialConfig

CASES: list[tuple[str, dict[str, Any]]] = [
    *((method, SMALL.get(method, {})) for method in offered_methods()),
    ("PVERA", {"generator_seed": 5}),
    ("PVERA", {"generator_seed": 5, "pvera_dropout": 0.5}),
]


@pytest.mark.parametrize(("method", "arguments"), CASES, ids=[f"{m}-{a}" for m, a in CASES])
def test_a_model_with_another_start_continues_from_the_state(
    pristine_vit: nn.Module,
    clone: Callable[[nn.Module], nn.Module],
    output: Callable[[nn.Module, Tensor], Tensor],
    images: Tensor,
    trial: Callable[..., TrialConfig],
    method: str,
    arguments: dict[str, Any],
) -> None:
    """Numpy's and Python's generators, which no checkpoint has, are not drawn from."""
    asked = trial(adapter="peft", peft={"method": method, "arguments": arguments})

    def build(seed: int) -> tuple[nn.Module, Adapted]:
        model = clone(pristine_vit)
        torch.manual_seed(seed)
        return model, inject_adapter(model, asked, layout_of(model), total_steps=4)

    def run(model: nn.Module, seed: int) -> Tensor:
        torch.manual_seed(seed)
        model.train()
        return output(model, images).detach()

    model, adapted = build(1)
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name in sorted(adapted.parameter_names()):
            own = model.get_parameter(name)
            own += 0.05 * torch.randn(own.shape, generator=draw)
    globals_before = np.random.get_state()[1:3], random.getstate()
    run(model, 2)
    assert random.getstate() == globals_before[1]
    assert np.array_equal(np.random.get_state()[1], globals_before[0][0])
    assert np.random.get_state()[2] == globals_before[0][1]

    again, fresh = build(3)
    with torch.no_grad():
        for name in adapted.parameter_names():
            again.get_parameter(name).copy_(model.get_parameter(name))
    fresh.load_state(adapted.state())
    for _ in range(2):
        assert torch.equal(run(again, 4), run(model, 4))
    assert bool(held_generators(model)) == ("generator_seed" in arguments)


def test_generators_are_found_inside_dicts_and_lists() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    one, two, three = (torch.Generator().manual_seed(n) for n in range(3))
    model[0].own = one
    model[1].held = {"a": [two, 3], "b": None}
    model.mine = (three,)
    assert held_generators(model) == {"0.own": one, "1.held.a.0": two, ".mine.0": three}


def test_a_state_without_generators_is_taken(
    pristine_vit: nn.Module, clone: Callable[[nn.Module], nn.Module], trial: Callable[..., TrialConfig]
) -> None:
    """From a checkpoint of an earlier version."""
    asked = trial(adapter="peft", peft={"method": "PVERA", "arguments": {"generator_seed": 5}})
    model = clone(pristine_vit)
    adapted = inject_adapter(model, asked, layout_of(model), total_steps=4)
    old = {name: t for name, t in adapted.state().items() if not name.startswith("generator/")}
    assert len(old) < len(adapted.state())
    adapted.load_state(old)
