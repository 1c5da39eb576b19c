"""The contract of every adapter family, on two backbones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from trainables.adapters.inject import Adapted, inject_adapter
from trainables.adapters.layout import layout_of
from trainables.errors import AdapterError
from trainables.specs.adapters import Adapter, Role
from trainables.specs.trial import TrialConfig

R, HIDDEN, INNER = 3, 32, 64
LAYERS = 4  # query and value of two blocks
FAMILIES: dict[str, tuple[dict[str, Any], int]] = {
    "lora": ({"adapter": "lora", "lora": {"rank": R}}, LAYERS * 2 * HIDDEN * R),
    "lora rslora": ({"adapter": "lora", "lora": {"rank": R, "rslora": True}}, LAYERS * 2 * HIDDEN * R),
    "lora dora": ({"adapter": "lora", "lora": {"rank": R, "dora": True}}, LAYERS * (2 * HIDDEN * R + HIDDEN)),
    "adalora": (
        {"adapter": "adalora", "adalora": {"init_rank": R, "target_rank": 2}},
        LAYERS * (2 * HIDDEN * R + R),
    ),
    "loha": ({"adapter": "loha", "loha": {"rank": R}}, LAYERS * 2 * 2 * HIDDEN * R),
    # 32 splits into 4·8: a 4×4 factor and an 8×8 one of rank 3
    "lokr": ({"adapter": "lokr", "lokr": {"rank": R}}, LAYERS * (4 * 4 + 2 * 8 * R)),
    "lokr both": (
        {"adapter": "lokr", "lokr": {"rank": 1, "decompose_both": True}},
        LAYERS * (2 * 4 + 2 * 8),
    ),
    "serial": ({"adapter": "serial_lora", "serial_lora": {"rank": R}}, 2 * 2 * HIDDEN * R),
    "serial apart": (
        {"adapter": "serial_lora", "serial_lora": {"rank": R, "shared": False}},
        6 * 2 * HIDDEN * R,
    ),
    "localized": (
        {"adapter": "localized_lora", "localized_lora": {"block_rank": R, "blocks": 4}},
        LAYERS * 2 * HIDDEN * R * 4,
    ),
    "peft IA3": ({"adapter": "peft", "peft": {"method": "IA3"}}, LAYERS * HIDDEN),
    "peft vera": (
        {"adapter": "peft", "peft": {"method": "vera", "arguments": {"r": 4}}},
        LAYERS * (HIDDEN + 4),
    ),
}
each_family = pytest.mark.parametrize("family", FAMILIES)


def put(model: nn.Module, config: TrialConfig, *, steps: int = 12, seed: int = 5) -> Adapted:
    torch.manual_seed(seed)
    return inject_adapter(model, config, layout_of(model), total_steps=steps)


def trained(model: nn.Module, adapted: Adapted) -> dict[str, nn.Parameter]:
    names = adapted.parameter_names()
    return {n: p for n, p in model.named_parameters() if n in names}


def test_every_adapter_is_in_the_contract() -> None:
    assert {fields["adapter"] for fields, _ in FAMILIES.values()} == set(Adapter) - {Adapter.NONE}


@each_family
def test_starts_as_the_base_model(family: str, pristine, clone, output, images: Tensor, trial) -> None:
    model = clone(pristine)
    put(model, trial(**FAMILIES[family][0]))
    with torch.no_grad():
        torch.testing.assert_close(output(model, images), output(pristine, images), rtol=1e-5, atol=1e-5)


@each_family
def test_counts_what_the_formula_says(family: str, pristine, clone, trial) -> None:
    model = clone(pristine)
    adapted = put(model, trial(**FAMILIES[family][0]))
    assert sum(p.numel() for p in trained(model, adapted).values()) == FAMILIES[family][1]


@each_family
def test_a_clone_leaves_the_original_untouched(
    family: str, pristine, clone, output, loss_of, images: Tensor, trial
) -> None:
    names = [n for n, _ in pristine.named_modules()]
    weights = {n: p.detach().clone() for n, p in pristine.named_parameters()}
    flags = {n: p.requires_grad for n, p in pristine.named_parameters()}
    model = clone(pristine)
    adapted = put(model, trial(**FAMILIES[family][0]))
    own = trained(model, adapted)
    optimizer = torch.optim.AdamW(own.values(), lr=0.1)
    for step in (1, 2):
        train_step(model, adapted, optimizer, loss_of, images, step)
    assert [n for n, _ in pristine.named_modules()] == names
    assert {n: p.requires_grad for n, p in pristine.named_parameters()} == flags
    assert all(torch.equal(p, weights[n]) for n, p in pristine.named_parameters())
    assert not torch.allclose(output(model, images), output(pristine, images), atol=1e-4)


def train_step(model, adapted: Adapted, optimizer, loss_of, images: Tensor, step: int) -> None:
    torch.manual_seed(100 + step)
    loss = loss_of(model, images)
    loss.backward()
    if (penalty := adapted.penalty()) is not None:
        penalty.backward()
    optimizer.step()
    adapted.after_step(step)
    optimizer.zero_grad()


@each_family
def test_gradient_reaches_every_weight(family: str, pristine, clone, loss_of, images: Tensor, trial) -> None:
    model = clone(pristine)
    adapted = put(model, trial(**FAMILIES[family][0]))
    own = trained(model, adapted)
    optimizer = torch.optim.SGD(own.values(), lr=0.1)
    for step in (1, 2):
        train_step(model, adapted, optimizer, loss_of, images, step)
    loss_of(model, images).backward()
    assert [n for n, p in own.items() if p.grad is None or not p.grad.any()] == []


@each_family
def test_resume_is_exact(family: str, pristine_vit, clone, loss_of, images: Tensor, trial) -> None:
    config = trial(**FAMILIES[family][0])

    def build() -> tuple[nn.Module, Adapted, torch.optim.Optimizer]:
        model = clone(pristine_vit).train()
        adapted = put(model, config)
        return model, adapted, torch.optim.AdamW(trained(model, adapted).values(), lr=0.05)

    for cut in (3, 10):
        straight, halved, resumed = build(), build(), build()
        for step in range(1, 13):
            train_step(straight[0], straight[1], straight[2], loss_of, images, step)
        for step in range(1, cut + 1):
            train_step(halved[0], halved[1], halved[2], loss_of, images, step)
        with torch.no_grad():
            for name, parameter in trained(resumed[0], resumed[1]).items():
                parameter.copy_(halved[0].get_parameter(name))
        resumed[1].load_state(halved[1].state())
        resumed[2].load_state_dict(halved[2].state_dict())
        for step in range(cut + 1, 13):
            train_step(resumed[0], resumed[1], resumed[2], loss_of, images, step)
        assert resumed[1].ranks() == straight[1].ranks()
        for name, parameter in trained(straight[0], straight[1]).items():
            assert torch.equal(parameter, resumed[0].get_parameter(name)), name


@each_family
def test_only_named_blocks_and_roles_are_adapted(family: str, pristine, clone, trial) -> None:
    model = clone(pristine)
    layout = layout_of(model)
    adapted = put(model, trial(**FAMILIES[family][0], targets=["key", "mlp_in"], blocks=[1, 1]))
    allowed = layout.targets([Role.KEY, Role.MLP_IN], (1, 1))
    assert len(allowed) == 2
    assert all(name.startswith(allowed) for name in adapted.parameter_names())
    assert {n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)} == set(allowed)


@each_family
def test_trains_under_bf16_autocast(
    family: str, pristine_vit, clone, losses_of, images: Tensor, trial
) -> None:
    model = clone(pristine_vit)
    adapted = put(model, trial(**FAMILIES[family][0]))
    own = trained(model, adapted)
    optimizer = torch.optim.AdamW(own.values(), lr=0.05)
    losses = losses_of(model, adapted, optimizer, images, steps=6, bf16=True)
    assert losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in own.values())


def test_none_adds_nothing(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    adapted = put(model, trial(adapter="none"))
    assert adapted.parameter_names() == set()
    assert adapted.penalty() is None
    assert adapted.ranks() == {}
    assert adapted.state() == {}
    adapted.after_step(1)
    adapted.load_state({})
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in pristine_vit.named_parameters()]


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        ({"adapter": "lora", "lora": {"rank": 8}}, 36_864 * 8),
        ({"adapter": "serial_lora", "serial_lora": {"rank": 4, "shared": False}}, 55_296 * 4),
        ({"adapter": "serial_lora", "serial_lora": {"rank": 4}}, 55_296 * 4 // 3),
        ({"adapter": "localized_lora", "localized_lora": {"block_rank": 2, "blocks": 4}}, 36_864 * 4 * 2),
        ({"adapter": "adalora", "adalora": {"init_rank": 12}}, 24 * 12 * (2 * 768 + 1)),
        ({"adapter": "loha", "loha": {"rank": 8}}, 2 * 36_864 * 8),
        ({"adapter": "lokr", "lokr": {"rank": 8}}, 24 * 1_088),
    ],
)
def test_weights_on_vit_base(fields: dict[str, Any], weights: int, trial) -> None:
    with torch.device("meta"):
        model = ViTModel(ViTConfig(), add_pooling_layer=False)
        adapted = put(model, trial(**fields))
    assert sum(p.numel() for p in trained(model, adapted).values()) == weights


def test_head_layers_stay_as_they_are(trial, pristine_vit, clone) -> None:
    class Wrapped(nn.Module):
        """A head with layers that have the names of attention layers."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = clone(pristine_vit)
            self.query = nn.Linear(32, 3)
            self.head = nn.ModuleDict(
                {"layers": nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(32, 3)})])}
            )

    model = Wrapped()
    adapted = inject_adapter(
        model, trial(adapter="lora"), layout_of(model.backbone).under("backbone"), total_steps=1
    )
    assert all(name.startswith("backbone.layers.") for name in adapted.parameter_names())
    assert len(adapted.parameter_names()) == 8


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"adapter": "lora", "blocks": [0, 2]}, "the model has 2 blocks; use numbers from 0 to 1"),
        (
            {"adapter": "localized_lora", "localized_lora": {"blocks": 5}},
            "hidden size 32; use 2, 4, 8, 16, 32",
        ),
        ({"adapter": "none", "freezing": "full", "frozen_blocks": 3}, "use a number from 0 to 2"),
        ({"adapter": "adalora", "adalora": {"interval": 20}}, "adalora needs at least 20 optimizer steps"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], says: str, pristine_vit, clone, trial) -> None:
    with pytest.raises(AdapterError, match=says):
        put(clone(pristine_vit), trial(**fields))
