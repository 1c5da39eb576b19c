"""YOLOS without the work that changes no output, against transformers' own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.tasks.conftest import tiny_yolos
from trainables.tasks.yolos import every_token, without_unread_tokens

LABELS = {0: "cat", 1: "dog"}


def pair(**changes: Any) -> tuple[Any, Any]:
    """A model of transformers, and a copy without the work."""
    plain = tiny_yolos(LABELS, **changes)
    lean = copy.deepcopy(plain)
    without_unread_tokens(lean)
    return plain, copy.deepcopy(lean)  # each trial works on a copy


def tokens_of(model: Any, name: str) -> list[int]:
    """A list that receives the number of tokens of each call of a submodule."""
    seen: list[int] = []
    model.get_submodule(name).register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    return seen


def images(height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mid", [False, True], ids=["", "mid positions"])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)], ids=["own size", "other size"])
@pytest.mark.parametrize("layers", [1, 3])
def test_outputs_and_gradients_are_transformers_own(mid: bool, size: tuple[int, int], layers: int) -> None:
    models = pair(use_mid_position_embeddings=mid, num_hidden_layers=layers)
    results = []
    for model in models:
        model.train().requires_grad_(True)
        out = model(pixel_values=images(*size))
        (out.logits.square().sum() + out.pred_boxes.square().sum()).backward()
        results.append([out.logits, out.pred_boxes, *(p.grad for _, p in model.named_parameters())])
    assert [n for n, _ in models[0].named_parameters()] == [n for n, _ in models[1].named_parameters()]
    for theirs, ours in zip(*results, strict=True):
        assert (theirs is None) == (ours is None)
        if theirs is not None:
            scale = float(theirs.detach().abs().max())
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * max(1.0, scale))


def test_the_last_layer_reads_detection_tokens_only_unless_every_token_is_asked_for() -> None:
    plain, lean = pair()
    last = len(lean.vit.encoder.layer) - 1
    mlp = tokens_of(lean, f"vit.encoder.layer.{last}.intermediate.dense")
    query = tokens_of(lean, f"vit.encoder.layer.{last}.attention.attention.query")
    value = tokens_of(lean, f"vit.encoder.layer.{last}.attention.attention.value")
    first = tokens_of(lean, "vit.encoder.layer.0.intermediate.dense")
    found = lean(images())
    with every_token():
        whole = lean(images())
    lean(images())
    every, read = 1 + 16 + 5, 5
    assert mlp == query == [read, every, read]
    assert value == first == [every] * 3
    for out in (found, whole):
        torch.testing.assert_close(out.logits, plain(images()).logits, rtol=1e-5, atol=1e-5)


def test_attention_drops_out_in_the_last_layer_in_training_mode_only() -> None:
    _, lean = pair(attention_probs_dropout_prob=0.5, num_hidden_layers=1)
    assert torch.equal(lean(images()).logits, lean(images()).logits)
    lean.train()
    assert not torch.allclose(lean(images()).logits, lean(images()).logits)


@pytest.mark.parametrize("name", ["attention.attention.query", "attention.output.dense", "output.dense"])
def test_an_adapted_layer_is_called_by_its_name(name: str) -> None:
    """An adapter puts a module of its own in the place of a layer."""
    plain, lean = pair()
    for model in (plain, lean):
        parent, _, leaf = name.rpartition(".")
        last = model.vit.encoder.layer[-1].get_submodule(parent)
        setattr(last, leaf, nn.Sequential(getattr(last, leaf), nn.Hardtanh(0.0, 0.1)))
    torch.testing.assert_close(lean(images()).logits, plain(images()).logits, rtol=1e-5, atol=1e-5)


class Mixing(nn.Module):
    """A layer whose outputs depend on the mean over all tokens, as LILY's do."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.layer(tokens - tokens.mean(dim=1, keepdim=True))
        return mixed


@pytest.mark.parametrize("name", ["attention.attention.query", "intermediate.dense"])
def test_a_layer_that_may_mix_tokens_gets_all_of_them(name: str) -> None:
    plain, lean = pair()
    for model in (plain, lean):
        parent, _, leaf = name.rpartition(".")
        part = model.vit.encoder.layer[-1].get_submodule(parent)
        setattr(part, leaf, Mixing(getattr(part, leaf)))
    torch.testing.assert_close(lean(images()).logits, plain(images()).logits, rtol=1e-5, atol=1e-5)


def test_positions_are_the_stored_ones_for_images_of_the_checkpoints_size() -> None:
    plain, lean = pair()
    stored = lean.vit.embeddings.position_embeddings
    assert lean.vit.embeddings.interpolation(stored, (32, 32)) is stored
    torch.testing.assert_close(
        plain.vit.embeddings.interpolation(stored, (32, 32)), stored, rtol=0, atol=1e-6
    )
    assert lean.vit.embeddings.interpolation(stored, (64, 32)).shape[1] == 1 + 32 + 5


def test_another_model_stays_as_it_is() -> None:
    model = nn.Linear(2, 2)
    without_unread_tokens(model)
    assert type(model) is nn.Linear
