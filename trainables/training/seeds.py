"""Seeds: every step draws from its own, so a restored trial continues to the bit."""

from __future__ import annotations

import numpy as np
import torch


def seed_of(seed: int, step: int, *, stream: int = 0) -> int:
    """The seed of one optimizer step of a trial with this seed; another stream is independent of it."""
    return int(np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0] >> 1)


def draw_from(seed: int, device: torch.device) -> None:
    """Seed the generators in use: torch's CPU generator, and the device's own.

    `torch.manual_seed` would seed every possible kind of device. For each absent one it
    formats and stores a stack trace, which takes 8 % of a small model's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
