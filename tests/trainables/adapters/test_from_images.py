"""EVA and LoRA-GA: initial weights from images, held against their definitions."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from peft import LoraConfig, LoraGAConfig, get_peft_model, preprocess_loraga
from torch import Tensor, nn

from trainables.adapters.family import ADAPTER_NAME, Kept
from trainables.adapters.from_images import CentredLinear, Start
from trainables.adapters.inject import Adapted, inject_adapter
from trainables.adapters.layout import layout_of
from trainables.errors import AdapterError

EVA = {"adapter": "lora", "lora": {"rank": 4, "alpha": 8.0, "init": "eva"}}
LORA_GA = {"adapter": "lora", "lora": {"rank": 4, "alpha": 8.0, "init": "lora_ga"}}


@dataclass
class Probe:
    """Random images, or any others, and a loss with a gradient in every block."""

    given: Tensor
    per_batch: int = 4
    passes: list[str] = field(default_factory=list)

    @property
    def batches(self) -> int:
        return len(self.given) // self.per_batch

    @property
    def images(self) -> int:
        return len(self.given)

    def batch(self, number: int) -> Tensor:
        return self.given[number * self.per_batch : (number + 1) * self.per_batch]

    def forward(self, model: nn.Module, number: int) -> None:
        self.passes.append("forward")
        with torch.no_grad():
            model(self.batch(number))

    def backward(self, model: nn.Module, number: int) -> None:
        self.passes.append("backward")
        out = model(self.batch(number)).last_hidden_state
        target = torch.randn(out.shape, generator=torch.Generator().manual_seed(number))
        (out - target).square().mean().backward()


@pytest.fixture
def probe() -> Probe:
    return Probe(torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(5)))


def put(model: nn.Module, config: Any, start: Start | None) -> Adapted:
    torch.manual_seed(3)
    return inject_adapter(model, config, layout_of(model), total_steps=4, start=start)


def layers_of(model: nn.Module) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if hasattr(m, "lora_A")}


def test_eva_takes_the_principal_directions_of_the_inputs(pristine_vit, clone, trial, probe: Probe) -> None:
    """Against an exact decomposition of all inputs at once."""
    model = clone(pristine_vit)
    name = layout_of(model).targets(("query",))[0]
    seen: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_hook(lambda _, given, __: seen.append(given[0]))
    for number in range(probe.batches):
        probe.forward(model, number)
    hook.remove()
    rows = torch.cat(seen).reshape(-1, 32)
    exact = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh
    put(model, trial(**EVA, targets=["query"], blocks=[0, 0]), probe)
    found = layers_of(model)[name].lora_A[ADAPTER_NAME].weight.detach()
    assert found.shape == (4, 32)
    # An incremental decomposition settles near the exact subspace; a random one has about 4/32 of it.
    assert float((found @ exact[:6].T).square().sum()) > 0.8 * 4
    torch.testing.assert_close(found @ found.T, torch.eye(4), atol=1e-3, rtol=0)


def test_eva_moves_ranks_and_keeps_their_sum(pristine_vit, clone, trial, probe: Probe) -> None:
    model = clone(pristine_vit)
    with torch.no_grad():  # the inputs of the second block vary in one direction only, so rank moves away
        model.layers[1].layernorm_before.weight.zero_()
        model.layers[1].layernorm_before.weight[0] = 1.0
    try:
        adapted = put(model, trial(**EVA, targets=["query", "output"]), probe)
        ranks = adapted.ranks()
        assert sum(ranks.values()) == 16
        assert len(set(ranks.values())) > 1
        scales = {name: layer.scaling[ADAPTER_NAME] for name, layer in layers_of(model).items()}
        assert set(scales.values()) == {2.0}, "every rank has the scale alpha/rank of the settings"
        fixed = adapted.config
        assert fixed is not None
        assert fixed.init_lora_weights is True
    finally:
        with torch.no_grad():
            model.layers[1].layernorm_before.weight.fill_(1.0)


def test_lora_ga_is_peft_s_own(pristine_vit, clone, output, images: Tensor, trial, probe: Probe) -> None:
    """The same function as PEFT's, which subtracts from the weights, before and after a step."""
    model = clone(pristine_vit)
    names = list(layout_of(model).targets(("query", "value")))
    put(model, trial(**LORA_GA), probe)

    theirs = copy.deepcopy(pristine_vit)
    config = LoraConfig(
        r=4, lora_alpha=8.0, target_modules=names, init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig()
    )

    def all_batches() -> None:
        theirs.eval()
        for number in range(probe.batches):
            probe.backward(theirs, number)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the first layer's backward hook
        preprocess_loraga(theirs, config, all_batches)
    torch.manual_seed(3)
    theirs = get_peft_model(theirs, config).eval()
    other = {n.removeprefix("base_model.model."): m for n, m in layers_of(theirs).items()}
    for name, layer in layers_of(model).items():
        (a, b), (own_a, own_b) = (
            [getattr(m, side)[ADAPTER_NAME].weight.detach() for side in ("lora_A", "lora_B")]
            for m in (layer, other[name])
        )
        # Singular vectors are unique but for their signs, which rounding decides.
        torch.testing.assert_close((a * own_a).sum(1).abs(), torch.ones(4), atol=1e-2, rtol=0)
        torch.testing.assert_close(b.norm(dim=0), own_b.norm(dim=0), rtol=1e-3, atol=0)
        with torch.no_grad():
            for mine, value in (
                (a, own_a),
                (b, own_b),
                (layer.lora_start_A, own_a),
                (layer.lora_start_B, own_b),
            ):
                mine.copy_(value)
    for move in (0.0, 0.1):
        with torch.no_grad():
            for name, layer in layers_of(model).items():
                for one in (layer, other[name]):
                    one.lora_A[ADAPTER_NAME].weight.add_(move)
                    one.lora_B[ADAPTER_NAME].weight.add_(move)
            ours, own = output(model, images), output(theirs.base_model.model, images)
        torch.testing.assert_close(ours, own, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("fields", [EVA, LORA_GA], ids=["eva", "lora_ga"])
def test_they_start_as_the_base_and_leave_it_alone(
    fields: dict[str, Any], pristine_vit, clone, output, images: Tensor, trial, probe: Probe
) -> None:
    before = {n: (p.detach().clone(), p.requires_grad, p.grad) for n, p in pristine_vit.named_parameters()}
    model = clone(pristine_vit)
    put(model, trial(**fields), probe)
    with torch.no_grad():
        torch.testing.assert_close(output(model, images), output(pristine_vit, images), atol=1e-5, rtol=0)
    for name, parameter in pristine_vit.named_parameters():
        value, flag, gradient = before[name]
        assert torch.equal(parameter, value)
        assert parameter.requires_grad == flag
        assert parameter.grad is gradient
    plain = clone(pristine_vit)
    put(plain, trial(adapter="lora", lora={"rank": 4, "alpha": 8.0}), None)
    ours, others = layers_of(model), layers_of(plain)
    assert not any(
        torch.equal(ours[n].lora_A[ADAPTER_NAME].weight, others[n].lora_A[ADAPTER_NAME].weight) for n in ours
    )


@pytest.mark.parametrize("fields", [EVA, LORA_GA], ids=["eva", "lora_ga"])
def test_a_restored_model_computes_nothing(
    fields: dict[str, Any], pristine_vit, clone, output, images: Tensor, trial, probe: Probe
) -> None:
    model = clone(pristine_vit)
    adapted = put(model, trial(**fields, targets=["query", "output"]), probe)
    with torch.no_grad():
        for name in adapted.parameter_names():
            model.get_parameter(name).add_(0.01)
    done = len(probe.passes)
    again = clone(pristine_vit)
    kept = Kept(adapted.ranks(), frozenset(adapted.parameter_names()))
    restored = put(again, trial(**fields, targets=["query", "output"]), kept)
    with torch.no_grad():
        for name in restored.parameter_names():
            again.get_parameter(name).copy_(model.get_parameter(name))
    restored.load_state(adapted.state())
    assert len(probe.passes) == done
    with torch.no_grad():
        assert torch.equal(output(again, images), output(model, images))


def test_lora_ga_s_change_of_the_weights_is_its_change_of_the_output(
    pristine_vit, clone, trial, probe: Probe
) -> None:
    model = clone(pristine_vit)
    put(model, trial(**LORA_GA), probe)
    layer = next(m for m in model.modules() if isinstance(m, CentredLinear))
    with torch.no_grad():
        layer.lora_A[ADAPTER_NAME].weight.add_(0.1)
        x = torch.randn(5, 32)
        changed = layer(x) - layer.base_layer(x)
        torch.testing.assert_close(changed, x @ layer.get_delta_weight(ADAPTER_NAME).T, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "images_of", "says"),
    [
        ({"rank": 20, "init": "eva"}, 8, r"lora\.rank 20 is too high for init 'eva'.* rank of at most 16"),
        ({"r": 20, "init_lora_weights": "eva"}, 8, "32 inputs.*use a rank of at most 16$"),
        (
            {"rank": 10, "init": "eva"},
            1,
            r"17 tokens in a batch .* of 1 training images; use a rank of at most 8",
        ),
        ({"rank": 12, "init": "lora_ga"}, 1, r"needs 24 independent directions .* on 1 training images"),
        ({"r": 17, "init_lora_weights": "lora_ga"}, 8, r"r 17 is too high .* use at most 16$"),
    ],
)
def test_too_little_for_the_rank_is_refused(
    fields: dict[str, Any], images_of: int, says: str, pristine_vit, clone, trial
) -> None:
    few = Probe(torch.randn(images_of, 3, 32, 32), per_batch=images_of)
    model = clone(pristine_vit)
    adapter = {"adapter": "lora", "lora": fields}
    if "r" in fields:
        adapter = {"adapter": "peft", "peft": {"method": "LORA", "arguments": fields}}
    with pytest.raises(AdapterError, match=says):
        put(model, trial(**adapter), few)
    assert not any(m._forward_hooks or hasattr(m, "_peft_loraga_grad") for m in model.modules())


def test_directions_that_never_settle_are_refused(
    pristine_vit, clone, trial, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.adapters.from_images.MOST_BATCHES", 2)
    arguments = {"init_lora_weights": "eva", "eva_config": {"tau": 1.0}}
    model = clone(pristine_vit)
    with pytest.raises(AdapterError, match="have not settled after 2 batches"):
        put(model, trial(adapter="peft", peft={"method": "LORA", "arguments": arguments}), probe)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_layer_whose_inputs_are_zero_starts_as_plain_lora(pristine_vit, clone, trial, probe: Probe) -> None:
    model = clone(pristine_vit)
    name = layout_of(model).targets(("value",))[0]
    model.get_submodule(name).register_forward_pre_hook(lambda _, given: (torch.zeros_like(given[0]),))
    put(model, trial(**LORA_GA, targets=["value"]), probe)
    plain, other = layers_of(model).values()
    assert not plain.lora_B[ADAPTER_NAME].weight.any()
    assert plain.lora_A[ADAPTER_NAME].weight.any()
    assert other.lora_B[ADAPTER_NAME].weight.any()


def test_a_loss_without_any_gradient_is_refused(pristine_vit, clone, trial, probe: Probe) -> None:
    class Blind(Probe):
        def backward(self, model: nn.Module, number: int) -> None:
            model.embeddings(self.batch(number))

    model = clone(pristine_vit)
    with pytest.raises(AdapterError, match="no gradient for any of the adapted layers"):
        put(model, trial(**LORA_GA), Blind(probe.given))
