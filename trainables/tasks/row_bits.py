"""Whether rows get the same bits alone as among others, which a library for matrices does not promise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def rows_have_same_bits(
    compute: Callable[..., tuple[Tensor, ...]], arguments: tuple[Tensor, ...], parts: Iterable[slice]
) -> bool:
    """Whether `compute` gives each of the parts of its arguments the bits that they have in the whole."""
    whole = compute(*arguments)
    return all(
        torch.equal(own, among[rows])
        for rows in parts
        for own, among in zip(compute(*(given[rows] for given in arguments)), whole, strict=True)
    )
