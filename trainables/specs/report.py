"""The values that a trial reports."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from trainables.specs.base import Spec


class Report(Spec):
    """A trial's report: its position, its metrics on validation images, its cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    epoch: float
    step: int
    """Optimizer steps done."""
    metrics: dict[str, float]
    objective: float
    """The objective so far by its rule: the best value, or this report's value."""
    above_floor: tuple[float, float] | None = None
    """(low, high): the 95 % bootstrap interval, over the same validation images, of this report's
    objective minus its floor; None without a floor. For AP and AR only its sign is meant. See
    `trainables.metrics.above_floor.collapsed` and `Interval`."""
    train_s: float
    evaluate_s: float
    wait_s: float
    """Seconds of `train_s` spent waiting for data."""
    samples: int
    """Training images seen since the last report."""
    peak_mb: float
    """Peak memory: of the device on a GPU, of the process on a CPU."""
    lanes: int = 1
    """The most trials that took their steps together with this one, itself included, since the last
    report. With more than one, `train_s` and `peak_mb` are this trial's share."""
    image_size: tuple[int, int] | None = None
    """(height, width) of the images that it was trained on and validated with since the last report, where
    these are smaller than the model's own: the report then compares only with others of this size."""
    done: bool
    outcome: Literal["completed", "early_stopped", "diverged"] | None = None
