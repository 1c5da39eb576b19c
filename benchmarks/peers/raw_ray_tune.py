"""Peer 2: Ray Tune with a function trainable and default settings, its data shared by `with_parameters`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.peers.plain import data
from benchmarks.task16 import CONFIGURATIONS, TRAIN, VALIDATION
from trainables.specs.data import Split


def trainable(config: dict[str, Any], training: Any, validation: Any) -> None:
    from benchmarks.peers.plain import train

    train(
        config["configuration"],
        training,
        validation,
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
    with_data = tune.with_parameters(
        trainable, training=data(Split.TRAIN, TRAIN), validation=data(Split.VALIDATION, VALIDATION)
    )
    tuner = tune.Tuner(with_data, param_space={"configuration": tune.grid_search(CONFIGURATIONS)})
    results = tuner.fit()
    frames = [result.metrics_dataframe["dice"].max() for result in results]
    print(json.dumps({"values": [float(value) for value in frames], "at": time.time()}))
    ray.shutdown()


if __name__ == "__main__":
    main()
