"""Measures how long the model of a trial takes for one image, before it is trained."""

from __future__ import annotations

import time

import torch

from trainables.data.loader import batch_of
from trainables.data.prepared import PreparedSplit
from trainables.inference.latency import in_turns
from trainables.tasks.base import TaskModel, autocast
from trainables.training.state import TrialState
from trainables.training.undisturbed import undisturbed


def trial_latency(task: TaskModel, images: PreparedSplit, state: TrialState) -> float:
    """Milliseconds of a forward pass over the first of `images`, resized as in training, in its precision.

    The adapter is in place as it trains, not merged. The median of several turns, each with its fastest
    pass; see `in_turns`. The trial's state is left as it was.
    """
    with undisturbed(state) as device:
        batch = batch_of(images, [0]).to(device)

        def once() -> float:
            began = time.perf_counter()
            with autocast(device, state.config.precision):
                task.outputs(state.model, batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return (time.perf_counter() - began) * 1000

        return in_turns([once])[0].median_ms
