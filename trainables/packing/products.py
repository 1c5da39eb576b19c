"""Products of the rows of several lanes with a frozen weight, in which no lane changes another's result.

A library for matrices may compute a row in another order when there are more rows. So the product is that
of all rows only where that was seen to make no difference, and otherwise one of equal size for each lane.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.tasks.linear import OneDnnLinear, mkl_is_slow, product
from trainables.tasks.row_bits import rows_have_same_bits

LEAST_PRODUCT = 1_000_000
"""Multiplications of one lane from which on oneDNN is faster: its calls take longer."""


class LaneLinear(nn.Linear):
    """A linear layer over rows that are ordered by lane; `lanes` says how many there are."""

    lanes = 1

    def forward(self, input: Tensor) -> Tensor:
        """(lanes · images, …, in) -> (lanes · images, …, out)."""
        found = lane_products(input.reshape(self.lanes, -1, input.shape[-1]), self.weight, self.bias)
        return found.view(*input.shape[:-1], -1)


def use_lane_linear(model: nn.Module) -> list[LaneLinear]:
    """Make the linear layers of `model` layers over lanes, and return them."""
    found = []
    for module in model.modules():
        if type(module) in (nn.Linear, OneDnnLinear):
            module.__class__ = LaneLinear
            found.append(module)
    return found  # type: ignore[return-value]


def lane_products(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias: (lanes, rows, in) -> (lanes, rows, out)."""
    lanes, rows, width = x.shape
    plain = x.dtype is torch.float32 and weight.dtype is torch.float32
    if x.device.type != "cpu" or not plain or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight, bias)
    # By the size of a lane's own product: it must not depend on the number of lanes.
    fast = mkl_is_slow() and rows * width * len(weight) >= LEAST_PRODUCT
    if rows_are_independent(rows, width, len(weight), onednn=fast):
        joint = x.reshape(-1, width)
        found = product(joint, weight, bias) if fast else functional.linear(joint, weight, bias)
        return found.view(lanes, rows, -1)
    by_lane = weight.t().expand(lanes, -1, -1)
    return torch.bmm(x, by_lane) if bias is None else torch.baddbmm(bias.view(1, 1, -1), x, by_lane)


@cache
def rows_are_independent(rows: int, inputs: int, outputs: int, *, onednn: bool) -> bool:
    """Whether this many rows get the same bits alone and among others, in a product and in its gradient."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(mode=False), torch.no_grad():
        for width, height in ((inputs, outputs), (outputs, inputs)):
            x = torch.randn(5 * rows, width, generator=generator)
            weight = torch.randn(height, width, generator=generator)
            for of in (weight, torch.randn(width, height, generator=generator).t()):

                def compute(x: Tensor, of: Tensor = of) -> tuple[Tensor, ...]:
                    return (product(x, of, None) if onednn else functional.linear(x, of),)

                if not rows_have_same_bits(compute, (x,), [slice(0, count * rows) for count in (1, 2, 3)]):
                    return False
    return True
