from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.adapters.families.serial_lora import SerialLinear
from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of


def adapted_vit(model: nn.Module, config) -> dict[str, SerialLinear]:
    inject_adapter(model, config, layout_of(model), total_steps=1)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, SerialLinear)}
    for layer in layers.values():
        nn.init.normal_(layer.lora_B["default"].weight)
    return layers


def test_equals_the_formula(pristine_vit, clone, trial) -> None:
    layers = adapted_vit(clone(pristine_vit), trial(adapter="serial_lora", serial_lora={"rank": 3}))
    assert len(layers) == 6
    x = torch.randn(5, 7, 32)
    for layer in layers.values():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        weight, bias = layer.base_layer.weight, layer.base_layer.bias
        expected = (x + x @ a.T @ b.T) @ weight.T + bias
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
        exported = x @ (weight + layer.get_delta_weight("default")).T + bias
        torch.testing.assert_close(layer(x), exported, rtol=1e-4, atol=1e-5)


def test_a_block_shares_one_pair(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    layers = adapted_vit(model, trial(adapter="serial_lora", serial_lora={"rank": 3}))
    for block in ("layers.0", "layers.1"):
        pairs = {id(m.lora_A["default"].weight) for n, m in layers.items() if n.startswith(block)}
        assert len(pairs) == 1
    assert layers["layers.0.attention.q_proj"].lora_A is not layers["layers.1.attention.q_proj"].lora_A
    new = [n for n, _ in model.named_parameters() if "lora_" in n]
    assert len(new) == 4, "one A and one B for each of two blocks"


def test_gradients_of_a_shared_pair_add_up(pristine_vit, clone, output, images: Tensor, trial) -> None:
    model = clone(pristine_vit)
    layers = adapted_vit(model, trial(adapter="serial_lora", serial_lora={"rank": 3}))
    shared = layers["layers.1.attention.q_proj"].lora_B["default"].weight
    layers["layers.1.attention.v_proj"].base_layer.weight.requires_grad_(False)
    (whole,) = torch.autograd.grad(output(model, images).square().mean(), shared)
    alone = adapted_vit(
        other := clone(pristine_vit), trial(adapter="serial_lora", serial_lora={"rank": 3, "shared": False})
    )
    for name, layer in alone.items():
        layer.load_state_dict(layers[name].state_dict())
    own = [alone[f"layers.1.attention.{r}_proj"].lora_B["default"].weight for r in "qkv"]
    parts = torch.autograd.grad(output(other, images).square().mean(), own)
    torch.testing.assert_close(whole, sum(parts), rtol=1e-4, atol=1e-6)


def test_layers_of_other_width_have_their_own_pair(pristine_vit, clone, trial) -> None:
    layers = adapted_vit(
        clone(pristine_vit), trial(adapter="serial_lora", targets=["query", "mlp"], serial_lora={"rank": 2})
    )
    first, last = layers["layers.0.mlp.fc1"], layers["layers.0.mlp.fc2"]
    assert first.lora_A["default"] is layers["layers.0.attention.q_proj"].lora_A["default"]
    assert last.lora_A["default"].in_features == 64


def test_disabled_it_is_the_base_layer(pristine_vit, clone, trial) -> None:
    layer = adapted_vit(clone(pristine_vit), trial(adapter="serial_lora"))["layers.0.attention.q_proj"]
    x = torch.randn(2, 32)
    layer.enable_adapters(False)
    assert torch.equal(layer(x), layer.base_layer(x))
