"""Checks, before trials are packed, that their packed model computes what a trial computes alone."""

from __future__ import annotations

import torch

from trainables.data.loader import Batch
from trainables.packing.lanes import Lane
from trainables.packing.stacked import PackedModel
from trainables.packing.untouched import untouched
from trainables.specs.trial import Precision
from trainables.tasks.base import TaskModel, autocast
from trainables.training.seeds import draw_from, seed_of
from trainables.training.state import TrialState

TOLERANCE = 1e-4
"""The largest relative difference of the two losses; rounding alone stays far below it."""


def agrees(
    task: TaskModel, model: PackedModel, state: TrialState, batch: Batch, device: torch.device
) -> bool:
    """Whether the loss of `state` on `batch` is the same in `model` and in the trial's own model.

    It is not where the backbone is random in training, such as with dropout, or where a layer of the model
    needs more than its input's rows. The random state and the trial stay as they are. Both are computed in
    float32, whatever the trial's precision: bf16 rounds by more than TOLERANCE, and otherwise for other
    shapes.
    """
    config = state.config
    devices = [] if device.type == "cpu" else [device]
    kind = "cuda" if device.type == "cpu" else device.type
    with untouched(state), torch.no_grad(), torch.random.fork_rng(devices, device_type=kind):
        draw_from(seed_of(config.seed, state.step), device)
        with autocast(device, Precision.FP32):
            alone = float(task.loss(state.model, batch.to(device), config))
        try:
            with autocast(device, Precision.FP32):
                model.begin([state])
                packed = float(model.losses([Lane.of(state, device)], [batch.to(device)])[0])
        except (RuntimeError, TypeError, ValueError):  # of a model that takes other rows than its input's
            return False
    return abs(packed - alone) <= TOLERANCE * (1 + abs(alone)) or alone != alone
