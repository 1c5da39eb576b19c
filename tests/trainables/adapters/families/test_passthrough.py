from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import Tensor, nn

from docs.peft_variants import DEFAULTS
from trainables.adapters.families.passthrough import offered_methods
from trainables.adapters.inject import Adapted, inject_adapter
from trainables.adapters.layout import layout_of
from trainables.adapters.unfit_methods import UNFIT
from trainables.errors import AdapterError

SMALL: dict[str, dict[str, Any]] = {**DEFAULTS, "WAVEFT": {"n_frequency": 100}}
"""Arguments for methods with defaults that are too large for a hidden size of 32."""


NOT_ZERO_AT_FIRST = {"C3A", "FOURIERFT", "UNILORA", "VBLORA"}
"""Methods with a non-zero initial update with PEFT's default arguments (docs/explanation/adapters.md)."""


@pytest.mark.parametrize("method", offered_methods())
def test_every_method_that_is_offered(
    method: str, pristine_vit, clone, output, losses_of, images: Tensor, trial
) -> None:
    """The method builds, trains, keeps the shared backbone, and is rebuilt from weights and state."""
    before = {n: p.detach().clone() for n, p in pristine_vit.named_parameters()}
    config = trial(adapter="peft", peft={"method": method, "arguments": SMALL.get(method, {})})

    def build() -> tuple[nn.Module, Adapted, dict[str, nn.Parameter]]:
        model = clone(pristine_vit)
        torch.manual_seed(7)
        adapted = inject_adapter(model, config, layout_of(model), total_steps=4)
        return model, adapted, {n: model.get_parameter(n) for n in sorted(adapted.parameter_names())}

    model, adapted, own = build()
    assert own
    with torch.no_grad():
        zero = torch.allclose(output(model, images), output(pristine_vit, images), atol=1e-5)
    assert zero == (method not in NOT_ZERO_AT_FIRST)

    model.train()
    optimizer = torch.optim.Adam(own.values(), lr=0.05)
    losses = losses_of(model, adapted, optimizer, images, steps=5)
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, before[n]) for n, p in pristine_vit.named_parameters())

    again, fresh, weights = build()
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(own[name])
    fresh.load_state(adapted.state())
    with torch.no_grad():
        assert torch.equal(output(again.eval(), images), output(model.eval(), images))


def test_every_other_method_is_refused(pristine_vit, trial) -> None:
    refused = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - set(offered_methods())
    assert {PeftType.PROMPT_TUNING.value, PeftType.PREFIX_TUNING.value, "ADALORA"} <= refused
    assert refused == set(UNFIT), "a check of a file knows the refused methods without PEFT"
    for method in refused:
        with pytest.raises(AdapterError, match=r"peft\.method"):
            inject_adapter(
                pristine_vit,
                trial(adapter="peft", peft={"method": method}),
                layout_of(pristine_vit),
                total_steps=1,
            )


@pytest.mark.parametrize(
    ("peft", "says"),
    [
        ({"method": "IA"}, "no method 'IA'"),
        ({"method": "vero"}, "did you mean 'VERA'"),
        ({"method": "prompt_tuning"}, "learns prompt tokens"),
        ({"method": "ADALORA"}, "use adapter 'adalora'"),
        ({"method": "OFT", "arguments": {"oft_blok_size": 4}}, "did you mean 'oft_block_size'"),
        ({"method": "OFT", "arguments": {"target_modules": ["x"]}}, "cannot be set in the file"),
        ({"method": "VERA", "arguments": {"r": -1}}, "VERA"),
        ({"method": "C3A"}, "does not fit this model"),
        ({"method": "LORA", "arguments": {"init_lora_weights": "pissa"}}, "overwrites backbone weights"),
    ],
)
def test_faults_say_what_would_do(peft: dict[str, Any], says: str, pristine_vit, clone, trial) -> None:
    before = {n: p.detach().clone() for n, p in pristine_vit.named_parameters()}
    model = clone(pristine_vit)
    with pytest.raises(AdapterError, match=says):
        inject_adapter(model, trial(adapter="peft", peft=peft), layout_of(model), total_steps=1)
    assert all(torch.equal(p, before[n]) for n, p in pristine_vit.named_parameters())


def test_layer_norm_tuning_takes_the_norms(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    config = trial(adapter="peft", peft={"method": "ln_tuning"}, blocks=[1, 1])
    names = inject_adapter(model, config, layout_of(model), total_steps=1).parameter_names()
    assert len(names) == 4
    assert all(n.startswith(("layers.1.layernorm_before", "layers.1.layernorm_after")) for n in names)


def test_ia3_scales_the_input_of_the_second_mlp_layer(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    config = trial(adapter="peft", peft={"method": "ia3"}, targets=["value", "mlp_out"])
    inject_adapter(model, config, layout_of(model), total_steps=1)
    assert model.layers[0].mlp.fc2.ia3_l["default"].numel() == 64
    assert model.layers[0].attention.v_proj.ia3_l["default"].numel() == 32
