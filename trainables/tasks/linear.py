"""Linear layers whose products oneDNN computes on processors where MKL does not use AVX-512.

torch computes a linear layer in float32 with MKL, which takes its AVX-512 kernels on Intel processors only.
On an AMD processor with AVX-512 the oneDNN that torch contains needs half the time for the same product.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LEAST_PRODUCT = 4_000_000
"""Multiplications from which on oneDNN is faster: a call of it, and of our gradient, takes longer."""


@cache
def mkl_is_slow() -> bool:
    """Whether this is an AMD processor with AVX-512, and torch has both libraries."""
    return (
        torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
        and "AuthenticAMD" in _processor()
    )


def _processor() -> str:
    """What the system says of its processor."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return platform.processor()


class OneDnnLinear(nn.Linear):
    """A linear layer that lets oneDNN compute large products in float32 on a CPU, and torch all others."""

    computes_as_linear = True
    """See `trainables.adapters.inject`."""
    least_product = LEAST_PRODUCT
    """Multiplications of a product from which on oneDNN computes it."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        weight, bias = self.weight, self.bias
        if (
            input.numel() * weight.shape[0] < self.least_product
            or input.dtype is not torch.float32
            or weight.dtype is not torch.float32
            or input.device.type != "cpu"
            or torch.is_autocast_enabled("cpu")
        ):
            return super().forward(input)
        # By rows: PEFT changes some layers' outputs in place, which a custom function's view forbids.
        return product(input.reshape(-1, input.shape[-1]), weight, bias).view(*input.shape[:-1], -1)


def use_onednn(model: nn.Module) -> None:
    """Let the linear layers of `model` compute with oneDNN, where that is faster than what torch chooses.

    Names, parameters and values do not change.
    """
    if not mkl_is_slow() or next(model.parameters()).device.type != "cpu":
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear


def use_torch(model: nn.Module) -> None:
    """Undo `use_onednn`, for a model that leaves this process."""
    for module in model.modules():
        if type(module) is OneDnnLinear:
            module.__class__ = nn.Linear  # type: ignore[assignment]


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias by oneDNN, for float32 rows x (rows, in) on a CPU."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)):
        out: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out
    return _linear(x, weight, bias)


class _Product(torch.autograd.Function):
    """x @ weight.T + bias, for rows x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if torch.is_grad_enabled():
            raise RuntimeError("a product by oneDNN has no second derivative")
        x, weight = ctx.saved_tensors
        return (
            _linear(grad, weight.t(), None) if ctx.needs_input_grad[0] else None,
            _linear(grad.t(), x.t(), None) if ctx.needs_input_grad[1] else None,
            grad.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out
