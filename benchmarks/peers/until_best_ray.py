"""Peer of `benchmarks.until_best`: Ray Tune with OptunaSearch (TPE) and ASHA over transformers and peft.

    python -m benchmarks.peers.until_best_ray JSON

A function trainable, its data shared by `with_parameters`, one CPU a trial, as many trials at once as CPUs.
Prints the time and Dice of every report as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.plain import data
from benchmarks.peers.quickstart import Configuration, Size, as_suggested, suggest
from benchmarks.peers.ray_start import start_ray
from trainables.specs.data import Split


def space(trial: optuna.Trial) -> None:
    """The space, as OptunaSearch takes a conditional one: it runs the function for its suggestions."""
    suggest(trial.suggest_categorical, lambda key, low, high: trial.suggest_float(key, low, high, log=True))


def trainable(config: dict[str, Any], training: Any, validation: Any, size: Size) -> None:
    from benchmarks.peers.quickstart import train

    best = 0.0

    def report(epoch: int, score: float) -> None:
        nonlocal best
        best = max(best, score)
        tune.report({"epoch": epoch, "dice": score, "best": best, "at": time.time()})

    train(as_configuration(config), size, training, validation, report)


def as_configuration(suggested: dict[str, Any]) -> Configuration:
    """The settings under their own keys again."""
    return {key.partition(".with")[0]: value for key, value in suggested.items()}


def main() -> None:
    asked = json.loads(sys.argv[1])
    start_ray()
    with_data = tune.with_parameters(
        trainable,
        training=data(Split.TRAIN, asked["train"], asked["side"]),
        validation=data(Split.VALIDATION, asked["validation"], asked["side"]),
        size=Size(asked["batch"], asked["epochs"]),
    )
    reports: list[tuple[float, float]] = []

    class Clock(tune.Callback):  # type: ignore[misc]
        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: Any, **_: Any
        ) -> None:
            reports.append((time.time(), result["dice"]))

    sampler = optuna.samplers.TPESampler(n_startup_trials=asked["startup_trials"], seed=asked["seed"])
    tuner = tune.Tuner(
        with_data,
        tune_config=tune.TuneConfig(
            num_samples=asked["trials"],
            search_alg=OptunaSearch(
                space,
                metric="best",
                mode="max",
                sampler=sampler,
                points_to_evaluate=[as_suggested(c) for c in asked["first"]] or None,
            ),
            scheduler=ASHAScheduler(
                time_attr="epoch",
                metric="best",
                mode="max",
                grace_period=asked["grace_epochs"],
                reduction_factor=asked["reduction_factor"],
                max_t=asked["epochs"],
            ),
        ),
        run_config=tune.RunConfig(name="raw", storage_path=str(Path.cwd()), callbacks=[Clock()], verbose=0),
    )
    results = tuner.fit()
    failed = [str(result.error) for result in results if result.error]
    if failed:
        raise SystemExit(f"{len(failed)} trials failed; the first: {failed[0][-2000:]}")
    print(json.dumps({"reports": reports, "trials": len(results)}))
    ray.shutdown()


if __name__ == "__main__":
    main()
