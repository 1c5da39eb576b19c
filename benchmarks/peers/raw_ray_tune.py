"""Peer 2: Ray Tune with a function trainable and default settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.task16 import CONFIGURATIONS, TRAIN, VALIDATION


def trainable(config: dict[str, Any]) -> None:
    from benchmarks.peers.plain import data, train
    from trainables.workload import Split

    train(
        config["configuration"],
        data(Split.TRAIN, TRAIN),
        data(Split.VALIDATION, VALIDATION),
        lambda epoch, score: tune.report({"epoch": epoch, "dice": score}),
    )


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={
            "env_vars": {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
        },
    )
    tuner = tune.Tuner(trainable, param_space={"configuration": tune.grid_search(CONFIGURATIONS)})
    results = tuner.fit()
    frames = [result.metrics_dataframe["dice"].max() for result in results]
    print(json.dumps({"values": [float(value) for value in frames]}))
    ray.shutdown()


if __name__ == "__main__":
    main()
