"""Checks that a packed step computes what a peer's step computes, before either is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.on_gpu.models import Sizes
from benchmarks.on_gpu.ours import Pack, ResidentEngine, trained_weights, trial
from benchmarks.on_gpu.peers import PlainSegmenter, PlainTrial, plain_detector
from trainables.packing.forwards import Forward

STEPS = 5
TRIALS = 3
TOLERANCE = 1e-4
"""The largest difference of two losses, relative to 1 + the loss."""
RATES = (1e-3, 3e-4, 2e-3)


@dataclass(frozen=True)
class Parity:
    """The largest difference of the losses, and the first and last of them of the first trial."""

    largest: float
    packed: tuple[float, float]
    alone: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether the two compute the same; NaN does not."""
        return self.largest <= TOLERANCE

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return (
            f"parity {verdict}: {TRIALS} trials, {STEPS} steps in fp32, losses differ by at most "
            f"{self.largest:.1e} (allowed {TOLERANCE:.0e}); trial 0 packed {self.packed[0]:.6f} to "
            f"{self.packed[1]:.6f}, alone {self.alone[0]:.6f} to {self.alone[1]:.6f}"
        )


def check(folder: Path, sizes: Sizes, device: torch.device, forward: Forward) -> Parity:
    """Train some trials packed, and each alone with transformers and peft from the same weights."""
    # cuDNN computes float32 convolutions in TF32 unless it is told not to.
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        return _check(folder, sizes, device, forward)
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def _check(folder: Path, sizes: Sizes, device: torch.device, forward: Forward) -> Parity:
    engine = ResidentEngine(folder, sizes, device)
    states = [
        trial(engine, number, adapter="lora", bf16=False, rate=RATES[number]) for number in range(TRIALS)
    ]
    for state in states:
        for name, parameter in state.model.named_parameters():
            if "lora_B" in name:  # zero at first, so that A would have no effect
                nn.init.normal_(parameter, std=0.02)
        engine.losses[state.number] = []
    weights = [trained_weights(state) for state in states]
    Pack(engine, states, forward).step(STEPS)
    packed = torch.stack([torch.stack(engine.losses[state.number]) for state in states]).double().cpu()
    build: Callable[[], nn.Module] = (
        (lambda: plain_detector(folder)) if sizes.queries else (lambda: PlainSegmenter(folder, sizes))
    )
    alone = torch.empty_like(packed)
    for number, held in enumerate(weights):
        plain = PlainTrial(build(), sizes, device, number=number, bf16=False, rate=RATES[number])
        plain.load(held)
        for step in range(STEPS):
            alone[number, step] = float(plain.step())
    largest = float(((packed - alone).abs() / (1 + alone.abs())).nan_to_num(torch.inf).max())
    return Parity(largest, *((float(row[0, 0]), float(row[0, -1])) for row in (packed, alone)))
