from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of


@pytest.mark.parametrize("rslora", [False, True])
def test_equals_the_formula(rslora: bool, pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    config = trial(adapter="lora", lora={"rank": 4, "alpha": 6.0, "rslora": rslora})
    inject_adapter(model, config, layout_of(model), total_steps=1)
    layer = model.layers[0].attention.q_proj
    nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(3, 32)
    scale = 6.0 / (math.sqrt(4) if rslora else 4)
    low = x @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    torch.testing.assert_close(layer(x), layer.base_layer(x) + scale * low)


def test_ranks_are_reported(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    adapted = inject_adapter(model, trial(adapter="lora", lora={"rank": 5}), layout_of(model), total_steps=1)
    assert adapted.ranks() == dict.fromkeys(layout_of(model).targets(trial(adapter="lora").roles), 5)


def test_initial_weights_follow_the_global_seed(pristine_vit, clone, trial) -> None:
    drawn = []
    for seed in (1, 1, 2):
        model = clone(pristine_vit)
        torch.manual_seed(seed)
        inject_adapter(model, trial(adapter="lora"), layout_of(model), total_steps=1)
        drawn.append(model.layers[0].attention.q_proj.lora_A["default"].weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
