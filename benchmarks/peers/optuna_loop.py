"""Peer 1: a sequential Optuna loop over transformers and peft, with torch's threads as they are set."""

from __future__ import annotations

import argparse
import json
import time

import optuna

from benchmarks.peers.plain import data, train
from benchmarks.task16 import RANKS, TRAIN, VALIDATION, add_options, configurations
from trainables.specs.data import Split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    given = parser.parse_args()
    asked = configurations(given.trials)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    training, validation = data(Split.TRAIN, TRAIN), data(Split.VALIDATION, VALIDATION)

    def objective(trial: optuna.Trial) -> float:
        configuration = {
            "rank": trial.suggest_categorical("rank", RANKS),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        }
        configuration["alpha"] = 2.0 * configuration["rank"]

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch)

        return train(configuration, training, validation, report, batch=given.batch)

    study = optuna.create_study(direction="maximize")
    for configuration in asked:
        study.enqueue_trial({key: configuration[key] for key in ("rank", "learning_rate")})
    study.optimize(objective, n_trials=len(asked))
    print(json.dumps({"values": [trial.value for trial in study.trials], "at": time.time()}))


if __name__ == "__main__":
    main()
