"""Linear layers by oneDNN against torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.tasks import linear
from trainables.tasks.linear import OneDnnLinear, mkl_is_slow, use_onednn, use_torch

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every product goes to oneDNN; the results of those that did."""
    found: list[Tensor] = []
    plain = linear._linear

    def noted(*arguments: Any) -> Tensor:
        found.append(plain(*arguments))
        return found[-1]

    monkeypatch.setattr(OneDnnLinear, "least_product", 0)
    monkeypatch.setattr(linear, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(linear, "_linear", noted)
    return found


def pair(*, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    swapped = nn.Sequential(copy.deepcopy(plain))
    use_onednn(swapped)
    layer = swapped[0]
    assert isinstance(layer, OneDnnLinear)
    return plain, layer


@pytest.mark.parametrize("shape", [(7, 24), (3, 5, 24), (24,)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("trains", [(), ("x",), ("weight",), ("bias",), ("x", "weight", "bias")])
def test_values_and_gradients_are_torchs(
    products: list[Tensor], shape: tuple[int, ...], bias: bool, trains: tuple[str, ...]
) -> None:
    plain, layer = pair(bias=bias)
    x = torch.randn(shape)
    results = []
    for module in (plain, layer):
        given = x.clone().requires_grad_("x" in trains)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in trains)
        out = module(given)
        if out.requires_grad:
            (out * torch.linspace(-1, 1, 40)).sum().backward()
        results.append([out, given.grad, *(parameter.grad for parameter in module.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(products) == 1 + ("x" in trains) + ("weight" in trains)


@pytest.mark.usefixtures("products")
def test_inputs_and_gradients_may_be_views() -> None:
    found = []
    for module in pair():
        x = torch.randn(6, 24, 5, generator=torch.Generator().manual_seed(1)).transpose(1, 2).requires_grad_()
        module(x).transpose(0, 1).sum(-1, keepdim=True).expand(-1, -1, 3).sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("products")
def test_outputs_may_be_changed_in_place() -> None:
    found = []
    for module in pair():
        x = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = module(x)
        out += x.sum(-1, keepdim=True)
        out.square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-4)


def test_small_products_other_precisions_and_autocast_are_torchs(products: list[Tensor]) -> None:
    plain, layer = pair()
    x = torch.randn(7, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer.double()(x.double()), plain.double()(x.double()))
    OneDnnLinear.least_product = 7 * 24 * 40 + 1
    assert torch.equal(layer.float()(x), plain.float()(x))
    assert not products


def test_without_gradients_nothing_is_recorded(products: list[Tensor]) -> None:
    _, layer = pair()
    with torch.no_grad():
        assert not layer(torch.randn(7, 24)).requires_grad
    layer.requires_grad_(False)
    assert not layer(torch.randn(7, 24)).requires_grad
    assert len(products) == 2


@pytest.mark.usefixtures("products")
def test_a_second_derivative_is_refused() -> None:
    _, layer = pair()
    x = torch.randn(7, 24, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)


def test_layers_keep_names_and_values_and_other_kinds_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "mkl_is_slow", lambda: True)

    class Other(nn.Linear):
        pass

    torch.manual_seed(0)
    model = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Sequential(Other(4, 4), nn.LayerNorm(4))})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    use_onednn(model)
    assert type(model["one"]) is OneDnnLinear
    assert type(model["two"][0]) is Other  # type: ignore[index]
    after = copy.deepcopy(model).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_model_that_leaves_has_plain_layers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "mkl_is_slow", lambda: True)
    model = nn.Sequential(nn.Linear(4, 4))
    use_onednn(model)
    use_torch(model)
    assert type(model[0]) is nn.Linear


def test_where_mkl_is_fast_every_layer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "mkl_is_slow", lambda: False)
    model = nn.Sequential(nn.Linear(4, 4))
    use_onednn(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(
    ("vendor", "capability", "slow"),
    [
        ("vendor_id\t: AuthenticAMD", "AVX512", True),
        ("AMD64 Family 26 Model 2 Stepping 1, AuthenticAMD", "AVX512", True),
        ("vendor_id\t: AuthenticAMD", "AVX2", False),
        ("vendor_id\t: GenuineIntel", "AVX512", False),
        ("", "DEFAULT", False),
    ],
)
def test_mkl_is_slow_on_amd_with_avx512_only(
    monkeypatch: pytest.MonkeyPatch, vendor: str, capability: str, slow: bool
) -> None:
    monkeypatch.setattr(linear, "_processor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert mkl_is_slow.__wrapped__() is slow
