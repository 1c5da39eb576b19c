"""A lane of a pack: one trial's own part of a step that several trials take together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from trainables.training.seeds import seed_of
from trainables.training.state import TrialState


@dataclass
class Lane:
    """A trial in a packed step, with the random numbers of its own that it would draw alone."""

    state: TrialState
    random: torch.Generator
    """Of the device."""
    others: tuple[torch.Generator, ...] = ()
    """Of the CPU, if that is not the device: PEFT draws some decisions there."""

    @classmethod
    def of(cls, state: TrialState, device: torch.device) -> Lane:
        """The lane of a trial's next step, with the engine's seed for that step; see `draw_from`."""
        devices = [device] if device.type == "cpu" else [device, torch.device("cpu")]
        seed = seed_of(state.config.seed, state.step)
        own, *others = (torch.Generator(each).manual_seed(seed) for each in devices)
        return cls(state, own, tuple(others))

    def kept(self, like: Tensor, drop: float) -> Tensor:
        """The mask of `functional.dropout(like, drop)`, scaled: equal to the bit to what torch draws."""
        if like.device.type != "cpu":  # where dropout draws other numbers than `bernoulli_`
            with self.drawing():
                return functional.dropout(torch.ones_like(like, requires_grad=False), drop)
        mask = torch.empty_like(like, requires_grad=False)
        return mask.bernoulli_(1 - drop, generator=self.random).div_(1 - drop)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let code that draws from torch's global generators draw this lane's random numbers."""
        own = (self.random, *self.others)
        shared = [_shared(generator.device) for generator in own]
        before = [generator.get_state() for generator in shared]
        for generator, mine in zip(shared, own, strict=True):
            generator.set_state(mine.get_state())
        try:
            yield
        finally:
            for generator, mine, state in zip(shared, own, before, strict=True):
                mine.set_state(generator.get_state())
                generator.set_state(state)


def _shared(device: torch.device) -> torch.Generator:
    """torch's global generator of a device."""
    if device.type == "cpu":
        return torch.default_generator
    generators = torch.get_device_module(device).default_generators
    found: torch.Generator = generators[device.index or 0]
    return found


def has_dropout(model: nn.Module) -> bool:
    """Whether a module of the model has dropout that is not 0."""
    return any(isinstance(part, _DropoutNd) and part.p > 0 for part in model.modules())
