"""Products of several lanes with one frozen weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.packing import products
from trainables.packing.products import LaneLinear, lane_products, use_lane_linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("onednn", [True, False])
def test_values_and_gradients_are_those_of_a_linear_layer(
    monkeypatch: pytest.MonkeyPatch, bias: bool, onednn: bool
) -> None:
    if onednn and not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN")
    monkeypatch.setattr(products, "mkl_is_slow", lambda: onednn)
    monkeypatch.setattr(products, "LEAST_PRODUCT", 0)
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias).requires_grad_(False)
    found = []
    for packed in (False, True):
        x = torch.randn(3, 7, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = lane_products(x, plain.weight, plain.bias) if packed else plain(x)
        out.square().sum().backward()
        found.append((out.detach(), x.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("rows", [17, 34, 65])
def test_a_lane_has_the_same_bits_with_any_number_of_others(
    monkeypatch: pytest.MonkeyPatch, rows: int, onednn: bool
) -> None:
    monkeypatch.setattr(products, "mkl_is_slow", lambda: onednn and torch.backends.mkldnn.is_available())
    monkeypatch.setattr(products, "LEAST_PRODUCT", 0)
    torch.manual_seed(0)
    layer = nn.Linear(96, 192)
    x = torch.randn(7, rows, 96)
    with torch.no_grad():
        whole = lane_products(x, layer.weight, layer.bias)
        for lanes in (1, 2, 5):
            assert torch.equal(lane_products(x[:lanes], layer.weight, layer.bias), whole[:lanes])


def test_where_rows_depend_on_each_other_each_lane_is_a_product_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(products, "LEAST_PRODUCT", 0)
    monkeypatch.setattr(products, "rows_are_independent", lambda rows, inputs, outputs, *, onednn: False)

    def refused(*arguments: object) -> None:
        raise AssertionError("one product of all rows")

    monkeypatch.setattr(products, "product", refused)
    layer, x = nn.Linear(8, 4), torch.randn(3, 5, 8)
    torch.testing.assert_close(lane_products(x, layer.weight, layer.bias), layer(x))


def test_every_linear_layer_of_a_model_knows_the_lanes() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))
    x = torch.randn(6, 3, 4)
    before = model(x)
    layers = use_lane_linear(model)
    assert [type(layer) for layer in layers] == [LaneLinear, LaneLinear]
    for layer in layers:
        layer.lanes = 3
    torch.testing.assert_close(model(x), before)
