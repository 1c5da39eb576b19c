"""How transformers' models are made traceable, and that nothing of it stays."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.models.eomt import modeling_eomt

from trainables.export.onnx.trace import named_outputs, random_part, trace


def test_outputs_have_names_for_every_kind_of_model() -> None:
    one = torch.zeros(1)
    assert list(named_outputs(one)) == ["scores"]
    boxes = {"logits": one, "pred_boxes": one}
    assert list(named_outputs(SimpleNamespace(**boxes))) == ["logits", "pred_boxes"]
    assert list(named_outputs(SimpleNamespace(**boxes, pred_masks=one)))[2:] == ["pred_masks"]
    masks = SimpleNamespace(class_queries_logits=one, masks_queries_logits=one, logits=None)
    assert list(named_outputs(masks)) == ["class_queries_logits", "masks_queries_logits"]


class _Refuses(nn.Module):
    """Has what tracing replaces, and fails when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.attn_mask_probs = nn.Buffer(torch.ones(2))
        self.seen: list[object] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = [os.environ.get("TRANSFORMERS_DISABLE_TORCH_CHECK"), vars(modeling_eomt)["len"](images)]
        raise RuntimeError("no")


def test_nothing_of_it_stays_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Refuses, "__module__", modeling_eomt.__name__)
    model = _Refuses()
    with pytest.raises(RuntimeError, match="no"):
        trace(model, (8, 8), free_sizes=False)
    assert model.seen == ["1", 2]
    assert model.attn_mask_probs == [1.0, 1.0]
    assert "len" not in vars(modeling_eomt)
    assert "TRANSFORMERS_DISABLE_TORCH_CHECK" not in os.environ


@pytest.mark.parametrize(("held", "random"), [([1.0, 0.0], False), ([0.0, 0.3], True)])
def test_masks_of_attention_are_random_between_0_and_1(held: list[float], random: bool) -> None:
    model = _Refuses()
    model.attn_mask_probs.copy_(torch.tensor(held))
    assert (random_part(model) is not None) is random
