"""Peer of `benchmarks.until_best`: a sequential Optuna loop with TPE over transformers and peft.

    python -m benchmarks.peers.until_best_optuna JSON [--prune]

With --prune also Optuna's `SuccessiveHalvingPruner` with our rungs. It is Optuna's own ASHA, so it stops by
the same rule as the other two programs. Prints the time and Dice of every report as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner

from benchmarks.peers.plain import data
from benchmarks.peers.quickstart import Size, as_suggested, suggest, train
from trainables.specs.data import Split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("asked", type=json.loads, help="what `benchmarks.until_best` asks for")
    parser.add_argument("--prune", action="store_true")
    given = parser.parse_args()
    asked = given.asked
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    training, validation = (data(Split(part), asked[part], asked["side"]) for part in ("train", "validation"))
    reports: list[tuple[float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        def report(epoch: int, score: float) -> None:
            reports.append((time.time(), score))
            trial.report(max(score for _, score in reports[first:]), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        def rate(key: str, low: float, high: float) -> float:
            return trial.suggest_float(key, low, high, log=True)

        first = len(reports)
        configuration = suggest(trial.suggest_categorical, rate)
        return train(configuration, Size(asked["batch"], asked["epochs"]), training, validation, report)

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=asked["startup_trials"], seed=asked["seed"]),
        pruner=pruner(asked) if given.prune else NopPruner(),
    )
    for configuration in asked["first"]:
        study.enqueue_trial(as_suggested(configuration))
    study.optimize(objective, n_trials=asked["trials"])
    print(json.dumps({"reports": reports, "trials": len(study.trials)}))


def pruner(asked: dict[str, Any]) -> BasePruner:
    """Successive halving with the rungs of our ASHA, rounded: it takes whole numbers from 2 on."""
    return SuccessiveHalvingPruner(
        min_resource=round(asked["grace_epochs"]), reduction_factor=max(2, round(asked["reduction_factor"]))
    )


if __name__ == "__main__":
    main()
