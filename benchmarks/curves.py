"""Trials that replay curves without training: only the work of the driver and of Ray is left."""

from __future__ import annotations

import math
import random
from typing import Any

from ray import tune

from trainables.specs.job import TrialJob, TrialResult
from trainables.specs.report import Report

EPOCHS = 27


def dice(rate: float, decay: float, epoch: int) -> float:
    """A point of a slightly noisy curve with a maximum set by the configuration; the same at each call."""
    height = 0.9 - 0.05 * abs(math.log10(rate) + 2.5) - 0.01 * abs(math.log10(decay) + 3.0)
    noise = random.Random(f"{rate} {decay} {epoch}").gauss(0.0, 0.01)
    return height * (1.0 - math.exp(-epoch / 4.0)) + noise


class Curve(tune.Trainable):  # type: ignore[misc]
    """One of our trials at a time, on a reused actor, with results like those of `AdapterTrainable`."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job: TrialJob = new_config["job"]
        self._epoch, self._best = 0, 0.0
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        config = self._job.config
        value = dice(config.learning_rate, config.weight_decay, self._epoch)
        self._best = max(self._best, value)
        done = self._epoch >= EPOCHS
        report = Report(
            epoch=float(self._epoch),
            step=40 * self._epoch,
            objective=self._best,
            metrics={"dice": value, "mean_iou": value / (2.0 - value), "loss": 1.0 - value},
            train_s=0.01,
            evaluate_s=0.002,
            wait_s=0.0001,
            samples=320,
            peak_mb=100.0,
            done=done,
            outcome="completed" if done else None,
        )
        first = self._epoch == 1
        return TrialResult(
            trial=self._job.trial,
            epoch=float(self._epoch),
            objective=self._best,
            report=report,
            built={"adapter": 1000, "head": 500, "backbone": 0, "total": 90_000} if first else None,
            done=done,
        ).for_ray()
