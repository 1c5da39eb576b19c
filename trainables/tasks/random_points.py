"""Random points at which a loss of an evaluation is computed: the same whenever it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SEED = 0


@contextmanager
def same_points(device: torch.device) -> Iterator[None]:
    """Draw from torch's generator of `device` as seeded with SEED; afterwards it is as it was before."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        if device.type == "cpu":
            torch.default_generator.manual_seed(SEED)
        else:
            torch.get_device_module(device).manual_seed(SEED)
        yield
