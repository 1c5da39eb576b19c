"""Peer 1: a sequential Optuna loop over transformers and peft, with torch's default thread count."""

from __future__ import annotations

import json
import time

import optuna

from benchmarks.peers.plain import data, train
from benchmarks.task16 import CONFIGURATIONS, TRAIN, VALIDATION
from trainables.specs.data import Split


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    training, validation = data(Split.TRAIN, TRAIN), data(Split.VALIDATION, VALIDATION)

    def objective(trial: optuna.Trial) -> float:
        configuration = {
            "rank": trial.suggest_categorical("rank", [2, 4, 8, 16]),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        }
        configuration["alpha"] = 2.0 * configuration["rank"]
        return train(configuration, training, validation, lambda epoch, score: trial.report(score, epoch))

    study = optuna.create_study(direction="maximize")
    for configuration in CONFIGURATIONS:
        study.enqueue_trial({key: configuration[key] for key in ("rank", "learning_rate")})
    study.optimize(objective, n_trials=len(CONFIGURATIONS))
    print(json.dumps({"values": [trial.value for trial in study.trials], "at": time.time()}))


if __name__ == "__main__":
    main()
