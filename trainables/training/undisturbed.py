"""Runs a trial's model beside its training, and leaves no trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.training.state import TrialState


@contextmanager
def undisturbed(state: TrialState) -> Iterator[torch.device]:
    """The model in evaluation mode, without gradients; gives its device.

    Afterwards its mode and all random generators are as they were.
    """
    model, own = state.model, [(g, g.get_state()) for g in state.generators]
    mode, device = model.training, next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            yield device
    finally:
        for generator, before in own:
            generator.set_state(before)
        model.train(mode)
