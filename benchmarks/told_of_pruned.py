"""What to tell a sampler of trials that ASHA stopped, on recorded learning curves.

    python -m benchmarks.told_of_pruned [--curves FILE] [--seeds 5] [--only gp,tpe]

A task has 1,000 recorded configurations of 8 numbers with 50 validation losses each (TaskSet, Metz et al.
2020). A forest of trees over the ranks of these numbers, fitted to all of them, gives a proposal its curve. A
search has 60 trials under ASHA, four at once, which report in turn. Its regret is the share of 10,000 random
configurations with a lower final loss than the best that it found. Compared are, with the same seeds:

- `estimate`: the last value plus what finished trials gained after that epoch (`gp`, `cmaes`, `nsga2`),
- `last`: the last value, as if the trial had run to its end,
- `pruned`: for TPE as pruned, which ranks it below all finished trials; for the others, nothing.

Printed is the mean regret of each, and how much it differs from `pruned`, paired by task and seed, with a
95 % interval (bootstrap over pairs). Random search is there to compare with.

FILE is `../shared/data/curves/taskset.npz` by default: for each task `NAME|X` (1,000 × 8) and `NAME|Y`
(1,000 × 51, the first before training).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import deque
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState
from sklearn.ensemble import ExtraTreesRegressor

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import SchedulerSpec
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.ledger.outcomes import Outcome
from tuning.scheduling.registry import build_rule
from tuning.scheduling.rule import Stop
from tuning.search.proposal import Proposal
from tuning.search.samplers import counted_trials
from tuning.search.samplers.pruned_values import Curve
from tuning.search.study import Study
from tuning.search.told import TOLD

CURVES = Path(__file__).resolve().parents[2] / "shared" / "data" / "curves" / "taskset.npz"
TRIALS, AT_ONCE = 60, 4
SEARCHES = ("random", "tpe", "nsga2", "cmaes", "gp")
HOWS = dict.fromkeys(SEARCHES, ("pruned", "last", "estimate")) | {
    "random": ("pruned",),
    "tpe": ("pruned", "last"),
}


class Task:
    """A task, as a model of its recorded curves over the unit cube. width: the number of settings."""

    def __init__(self, settings: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        points = settings.argsort(axis=0).argsort(axis=0) / (len(settings) - 1)
        finite = np.where(np.isfinite(losses), losses, np.inf)[:, 1:]
        best = np.minimum.accumulate(finite, axis=1)
        highest = np.median(best[:, 0])  # what has diverged is not to shape the model
        self._model = ExtraTreesRegressor(50, min_samples_leaf=2, random_state=0)
        self._model.fit(points, np.minimum(best, highest))
        self.width = points.shape[1]
        others = np.random.default_rng(0).random((10_000, self.width))
        self._finals = self._model.predict(others)[:, -1]

    def curve(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lowest loss so far, by epoch."""
        found: NDArray[np.float64] = self._model.predict(point[None])[0]
        return found

    def regret(self, loss: float) -> float:
        """The share of random configurations that are better."""
        return float((self._finals < loss).mean())


def last_value(stopped: Curve, finished: object, **more: object) -> float | None:
    """Stands in for `estimate_final`."""
    return stopped[-1][1] if stopped else None


def nothing(stopped: Curve, finished: object, **more: object) -> float | None:
    """Stands in for `estimate_final`."""
    return None


def run(task: Task, name: str, how: str, seed: int) -> float:
    """The regret of one search."""
    if name == "tpe":
        state = TrialState.COMPLETE if how == "last" else TrialState.PRUNED
        with mock.patch.dict(TOLD, {Outcome.PRUNED: state}):
            return search(task, name, seed)
    told = {"last": last_value, "pruned": nothing}.get(how, counted_trials.estimate_final)
    with mock.patch.object(counted_trials, "estimate_final", told):
        return search(task, name, seed)


def search(task: Task, name: str, seed: int) -> float:
    """One search under ASHA; returns its regret."""
    names = [f"x{n}" for n in range(task.width)]
    space = Space.parse({each: {"float": [0.0, 1.0]} for each in names})
    spec = SearchSpec.model_validate_json(json.dumps({name: {}, "seed": seed}))
    study = Study(space, spec, name="b", direction=Direction.MINIMIZE, trials=TRIALS)
    epochs = len(task.curve(np.zeros(task.width)))
    section = {"grace_epochs": 1, "reduction_factor": 3, "rule": "threshold"}
    asha = SchedulerSpec.model_validate_json(json.dumps({"asha": section}))
    rule = build_rule(asha, Direction.MINIMIZE, max_epochs=epochs)
    assert rule is not None
    live: deque[tuple[int, NDArray[np.float64], int]] = deque()
    best = np.inf
    while True:
        while len(live) < AT_ONCE and isinstance(proposal := study.propose(), Proposal):
            point = np.array([proposal.params[each] for each in names], dtype=float)
            live.append((proposal.number, task.curve(point), 0))
        if not live:
            return task.regret(best)
        number, curve, epoch = live.popleft()
        loss, epoch = float(curve[epoch]), epoch + 1
        best = min(best, loss)
        study.report(number, epoch, loss)
        if epoch == epochs:
            rule.finish(number, epoch, loss)
            study.tell(number, Outcome.COMPLETED, loss)
        elif isinstance(rule.decide(number, epoch, loss), Stop):
            study.tell(number, Outcome.PRUNED, loss)
        else:
            live.append((number, curve, epoch))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default=",".join(SEARCHES))
    asked = parser.parse_args()
    stored = np.load(asked.curves)
    names = sorted({key.split("|")[0] for key in stored.files})
    tasks = [Task(stored[f"{each}|X"].astype(float), stored[f"{each}|Y"].astype(float)) for each in names]
    rng = np.random.default_rng(0)
    for name in asked.only.split(","):
        found = {
            how: np.array([run(task, name, how, seed) for task in tasks for seed in range(asked.seeds)])
            for how in HOWS[name]
        }
        for how, regrets in found.items():
            line = f"{name:6} {how:9} regret {regrets.mean():.4f}"
            if how != "pruned":
                less = regrets - found["pruned"]
                means = rng.choice(less, size=(10_000, len(less))).mean(axis=1)
                low, high = np.quantile(means, [0.025, 0.975])
                line += f"  difference {less.mean():+.4f} ({low:+.4f} to {high:+.4f})"
            print(line, flush=True)


if __name__ == "__main__":
    main()
