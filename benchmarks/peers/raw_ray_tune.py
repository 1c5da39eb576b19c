"""Peer 2: Ray Tune with a function trainable and default settings, its data shared by `with_parameters`.

Ray gives a worker as many threads as it has CPUs, so one, unless OMP_NUM_THREADS is set.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import ray
from ray import tune

from benchmarks.peers.plain import data
from benchmarks.peers.ray_start import start_ray
from benchmarks.task16 import TRAIN, VALIDATION, add_options, configurations
from trainables.specs.data import Split


def trainable(config: dict[str, Any], training: Any, validation: Any) -> None:
    from benchmarks.peers.plain import train

    train(
        config["configuration"],
        training,
        validation,
        lambda epoch, score: tune.report({"epoch": epoch, "dice": score}),
        batch=config["batch"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    given = parser.parse_args()
    start_ray()
    with_data = tune.with_parameters(
        trainable, training=data(Split.TRAIN, TRAIN), validation=data(Split.VALIDATION, VALIDATION)
    )
    asked = tune.grid_search(configurations(given.trials))
    tuner = tune.Tuner(with_data, param_space={"configuration": asked, "batch": given.batch})
    results = tuner.fit()
    frames = [result.metrics_dataframe["dice"].max() for result in results]
    print(json.dumps({"values": [float(value) for value in frames], "at": time.time()}))
    ray.shutdown()


if __name__ == "__main__":
    main()
