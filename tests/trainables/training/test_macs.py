"""The multiplications of a model, against what its layers say by hand."""

from __future__ import annotations

import json

import pytest
import torch

from trainables.preparation import prepare_workload
from trainables.specs.data import DataSpec, EmbeddedData, Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ObjectiveSpec, Task, Workload
from trainables.training.engine import Engine
from trainables.training.macs import count_macs

WORKLOAD = Workload(
    task=Task.SEGMENTATION,
    data=DataSpec(embedded=EmbeddedData(train=8, validation=4, test=4)),
    objective=ObjectiveSpec(metric="dice"),
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(WORKLOAD, prepare_workload(WORKLOAD), device="cpu")


def counted(engine: Engine, **settings: object) -> int:
    state = engine.start(TrialConfig.model_validate_json(json.dumps(settings)))
    return count_macs(engine.task, engine.data.splits[Split.VALIDATION], state)


def test_they_are_those_of_the_layers_and_of_attention(engine: Engine) -> None:
    state = engine.start(TrialConfig.model_validate_json('{"adapter": "none", "freezing": "head_only"}'))
    found: list[int] = []

    def note(module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Linear):
            found.append(out.numel() * module.in_features)
        elif isinstance(module, torch.nn.Conv2d):
            found.append(out.numel() * module.weight[0].numel())

    hooks = [m.register_forward_hook(note) for m in state.model.modules()]
    total = count_macs(engine.task, engine.data.splits[Split.VALIDATION], state)
    for hook in hooks:
        hook.remove()
    config = next(m.config for m in state.model.modules() if hasattr(m, "config"))
    tokens = (64 // config.patch_size) ** 2 + 1
    attention = 2 * config.num_hidden_layers * tokens**2 * config.hidden_size
    classes, few = len(engine.data.classes), 64 // config.patch_size
    enlarged = classes * (64 * few * few + 64 * 64 * few)  # bilinearly, as two products of matrices
    assert total == sum(found) + attention + enlarged


def test_an_adapter_costs_what_its_matrices_cost_and_counting_changes_nothing(engine: Engine) -> None:
    plain = counted(engine, adapter="none", freezing="head_only")
    four, eight = (counted(engine, adapter="lora", targets=["query"], lora={"rank": rank}) for rank in (4, 8))
    assert plain < four < eight
    assert eight - four == four - plain
    state = engine.start(TrialConfig.model_validate_json('{"adapter": "lora"}'))
    before = torch.random.get_rng_state()
    count_macs(engine.task, engine.data.splits[Split.VALIDATION], state)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not state.model.training
