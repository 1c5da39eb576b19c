"""Computes with a trial's model and leaves the trial as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from trainables.training.state import TrialState


@contextmanager
def untouched(state: TrialState) -> Iterator[None]:
    """Restore afterwards what forward passes in training mode change: running statistics and generators.

    The shared backbone keeps its buffers in training, so those of the trial's own parts are what can change.
    Its costs are restored as well. torch's own generators are seeded anew before each step.
    """
    buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
    held = [(generator, generator.get_state()) for generator in state.generators]
    spent = replace(state.spent)
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        for generator, before in held:
            generator.set_state(before)
        state.spent = spent
