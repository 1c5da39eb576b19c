"""Peer of `benchmarks.ten_thousand_trials`: Ray Tune with default settings, over the same curves.

Ray's own random search and ASHA, with its loggers and snapshots; actors are reused and two trials run
at once, as in our sweep. Prints its times and bytes as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler

from benchmarks.curves import EPOCHS, dice
from benchmarks.peers.ray_start import start_ray


class Plain(tune.Trainable):  # type: ignore[misc]
    """The same curves, reported as a Ray user would report them."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._given, self._best = new_config, 0.0
        return True

    def step(self) -> dict[str, Any]:
        value = dice(self._given["learning_rate"], self._given["weight_decay"], self.iteration + 1)
        self._best = max(self._best, value)
        return {
            "dice": value,
            "mean_iou": value / (2.0 - value),
            "loss": 1.0 - value,
            "objective": self._best,
            "done": self.iteration + 1 >= EPOCHS,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was saved."""


def main(trials: int, folder: Path) -> None:
    start_ray()
    ended: list[float] = []

    class Clock(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ended.append(time.perf_counter())

    tuner = tune.Tuner(
        tune.with_resources(Plain, {"CPU": 1}),
        param_space={
            "adapter": tune.choice(["lora", "loha"]),
            "rank": tune.choice([2, 4, 8, 16]),
            "learning_rate": tune.loguniform(1e-5, 1e-1),
            "weight_decay": tune.loguniform(1e-6, 1e-1),
        },
        tune_config=tune.TuneConfig(
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=True,
            scheduler=AsyncHyperBandScheduler(
                metric="objective",
                mode="max",
                time_attr="training_iteration",
                grace_period=1,
                reduction_factor=3,
                max_t=EPOCHS,
            ),
        ),
        run_config=tune.RunConfig(name="raw", storage_path=str(folder), callbacks=[Clock()], verbose=0),
    )
    started = time.perf_counter()
    tuner.fit()
    whole = time.perf_counter() - started
    written = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(json.dumps({"trials": len(ended), "whole_s": whole, "bytes": written, "ended": ended}))
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
