"""Adapters on layers whose weights torch's own modules read directly are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of
from trainables.errors import AdapterError
from trainables.specs.trial import TrialConfig


class Block(nn.Module):
    """A block with plain query and value layers, and torch's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {
                "q_proj": nn.Linear(16, 16),
                "v_proj": nn.Linear(16, 16),
                "fused": nn.MultiheadAttention(16, 2, batch_first=True),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        held = self.attention
        return held["fused"](held["q_proj"](x), x, held["v_proj"](x))[0]


class WithAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(2))


class WithFusedLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2))


@pytest.mark.parametrize("adapter", ["lora", "loha", "serial_lora"])
def test_the_output_of_torchs_attention_is_refused(adapter: str, trial: Callable[..., TrialConfig]) -> None:
    model = WithAttention()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(
        AdapterError,
        match=r"layers\.0\.attention\.fused\.out_proj is inside torch\.nn\.MultiheadAttention.*always",
    ):
        inject_adapter(
            model, trial(adapter=adapter, targets=["query", "output"]), layout_of(model), total_steps=4
        )
    assert {name for name, _ in model.named_parameters()} == set(before), "nothing was injected"


def test_layers_next_to_torchs_attention_are_adapted(trial: Callable[..., TrialConfig]) -> None:
    model = WithAttention()
    inject_adapter(model, trial(adapter="lora"), layout_of(model), total_steps=4)
    assert sum(".lora_A." in name for name, _ in model.named_parameters()) == 4


def test_the_layers_of_torchs_encoder_are_refused(trial: Callable[..., TrialConfig]) -> None:
    model = WithFusedLayers()
    with pytest.raises(
        AdapterError, match=r"linear1 is inside torch\.nn\.TransformerEncoderLayer.*in evaluation"
    ):
        inject_adapter(model, trial(adapter="lora", targets=["mlp_in"]), layout_of(model), total_steps=4)


def test_torchs_encoder_does_bypass_adapters_in_evaluation() -> None:
    """The reason for the refusal; if it fails, torch has changed, and the refusal may go."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        before = model.eval()(x)
        LoraModel(model, LoraConfig(r=2, target_modules=["linear1"]), "default")
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(1.0)
        assert torch.equal(model.eval()(x), before)
