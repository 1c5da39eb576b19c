from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of


def by_loop(layer: nn.Module, x: Tensor, *, blocks: int, rank: int, alpha: float) -> Tensor:
    """out_j += alpha/rank · Σ_i B_ij A_ij x_i, one pair after the other, from GraLoRA's stacked weights.

    There A is (blocks, in/blocks, blocks·rank), its last axis running over output blocks, and B is
    (blocks, blocks·rank, out/blocks), its middle axis running over input blocks.
    """
    a, b = layer.gralora_A["default"], layer.gralora_B["default"]
    out = layer.base_layer(x)
    inputs = x.chunk(blocks, dim=-1)
    added = []
    for j in range(blocks):
        total = torch.zeros(*x.shape[:-1], out.shape[-1] // blocks)
        for i in range(blocks):
            a_ij = a[i][:, j * rank : (j + 1) * rank]
            b_ij = b[j][i * rank : (i + 1) * rank, :]
            total = total + inputs[i] @ a_ij @ b_ij
        added.append(total)
    return out + alpha / rank * torch.cat(added, dim=-1)


@pytest.mark.parametrize(("blocks", "rank", "alpha"), [(2, 4, 8.0), (4, 1, 3.0), (8, 3, 16.0)])
def test_equals_a_loop_over_blocks(blocks: int, rank: int, alpha: float, pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    config = trial(
        adapter="localized_lora",
        targets=["value", "mlp"],
        localized_lora={"block_rank": rank, "blocks": blocks, "alpha": alpha},
    )
    layout = layout_of(model)
    names = layout.targets(config.roles)
    inject_adapter(model, config, layout, total_steps=1)
    torch.manual_seed(0)
    for name in names:
        layer = model.get_submodule(name)
        nn.init.normal_(layer.gralora_B["default"])
        x = torch.randn(2, 5, layer.in_features)
        torch.testing.assert_close(
            layer(x), by_loop(layer, x, blocks=blocks, rank=rank, alpha=alpha), rtol=1e-4, atol=1e-4
        )
