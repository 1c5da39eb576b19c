"""Trials that replay curves in no time: what is left is the driver's work, and Ray's. No torch."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from ray import tune

EPOCHS = 27


def dice(params: Mapping[str, Any], epoch: int) -> float:
    """A curve that rises to a height set by the configuration, a little noisy; the same at each call."""
    rate, decay = params["learning_rate"], params["weight_decay"]
    height = 0.9 - 0.05 * abs(math.log10(rate) + 2.5) - 0.01 * abs(math.log10(decay) + 3.0)
    noise = random.Random(f"{rate} {decay} {epoch}").gauss(0.0, 0.01)
    return height * (1.0 - math.exp(-epoch / 4.0)) + noise


class Curve(tune.Trainable):  # type: ignore[misc]
    """One trial of ours at a time, on a reused actor, with results like `AdapterTrainable`'s."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._given, self._epoch, self._best = new_config, 0, 0.0
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        value = dice(self._given["params"], self._epoch)
        self._best = max(self._best, value)
        done = self._epoch >= EPOCHS
        report = {
            "epoch": float(self._epoch),
            "step": 40 * self._epoch,
            "objective": self._best,
            "metrics": {"dice": value, "mean_iou": value / (2.0 - value), "loss": 1.0 - value},
            "train_s": 0.01,
            "evaluate_s": 0.002,
            "wait_s": 0.0001,
            "samples": 320,
            "peak_mb": 100.0,
            "outcome": "completed" if done else None,
        }
        first = self._epoch == 1
        return {
            "trial": self._given["trial"],
            "epoch": float(self._epoch),
            "objective": self._best,
            "report": report,
            "built": {"adapter": 1000, "head": 500, "backbone": 0, "total": 90_000} if first else None,
            "baseline": None,
            "failure": None,
            "done": done,
        }
