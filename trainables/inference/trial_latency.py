"""Measures how long the model of a trial takes for one image, before it is trained."""

from __future__ import annotations

from trainables.data.loader import batch_of
from trainables.data.prepared import PreparedSplit
from trainables.inference.latency import in_turns, timed_pass
from trainables.tasks.base import TaskModel
from trainables.training.state import TrialState
from trainables.training.undisturbed import undisturbed


def trial_latency(task: TaskModel, images: PreparedSplit, state: TrialState) -> float:
    """Milliseconds of a forward pass over the first of `images`, resized as in training, in its precision.

    The adapter is in place as it trains, not merged. The median of several turns, each with its fastest
    pass; see `in_turns`. The trial's state is left as it was.
    """
    with undisturbed(state) as device:
        batch = batch_of(images, [0]).to(device)
        precision = state.config.precision
        return in_turns([lambda: timed_pass(task, state.model, batch, device, precision)])[0].median_ms
