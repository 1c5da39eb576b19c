"""The trained tensors of several trials as one tensor each, so that one operation computes all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class _Stack:
    whole: Tensor
    """(lanes, …) with gradients; zeros where a trial's tensor is smaller."""
    parameters: Sequence[nn.Parameter]
    places: list[Tensor]
    """Where in `whole` each parameter is copied to."""

    def divide(self) -> None:
        """Give each parameter its part of the gradient."""
        whole, self.whole.grad = self.whole.grad, None
        if whole is None:
            return
        for own, parameter in zip(whole.unbind(), self.parameters, strict=True):
            # A trial's optimizer goes through memory, so its gradients must lie there as its parameters do.
            parameter.grad = own if own.shape == parameter.shape else _corner(own, parameter).contiguous()


class Stacks:
    """The stacked parameters of a fixed list of trials."""

    def __init__(self) -> None:
        self._stacks: dict[tuple[int, ...], _Stack] = {}

    def of(self, parameters: Sequence[nn.Parameter], shape: Sequence[int] | None = None) -> Tensor:
        """(lanes, …): one parameter of each trial, padded with zeros at the end of each dimension.

        The same parameters give the same stack. shape: the padded shape, that of the first by default.
        """
        key = tuple(id(parameter) for parameter in parameters)
        if key not in self._stacks:
            first = parameters[0]
            whole = first.new_zeros((len(parameters), *(shape or first.shape)))
            places = [_corner(own, p) for own, p in zip(whole.unbind(), parameters, strict=True)]
            trains = any(parameter.requires_grad for parameter in parameters)
            self._stacks[key] = _Stack(whole.requires_grad_(trains), list(parameters), places)
        return self._stacks[key].whole

    @property
    def tensors(self) -> list[Tensor]:
        """All stacks, in the order in which they were made."""
        return [stack.whole for stack in self._stacks.values()]

    @torch.no_grad()
    def read(self) -> None:
        """Copy the parameters' current values into the stacks."""
        stacks = self._stacks.values()
        places = [place for stack in stacks for place in stack.places]
        values = [parameter.detach() for stack in stacks for parameter in stack.parameters]
        if places:
            torch._foreach_copy_(places, values)

    def divide(self) -> None:
        """Give each parameter the gradient of its part of the stack."""
        for stack in self._stacks.values():
            stack.divide()


def _corner(padded: Tensor, parameter: Tensor) -> Tensor:
    return padded[tuple(slice(0, side) for side in parameter.shape)]
