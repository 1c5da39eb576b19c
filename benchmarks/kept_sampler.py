"""TPE with a new sampler for each proposal, as the study builds it, against one that is kept.

    python -m benchmarks.kept_sampler [--seeds 60]

A new one can be built from the record at any point; a kept one has a generator whose state nothing records.
Two functions that cost nothing: five settings with a condition (that of `benchmarks.priors`), and four
numbers. Printed is the mean lowest loss over the seeds after 10, 20, 40 and 60 trials, and how much that of
the new ones differs, paired by seed, with a 95 % interval (bootstrap).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.priors import SHOWN, TRIALS, interval, loss_of, space_with
from trainables.specs.workload import Direction
from tuning.experiment.sections.search import SearchSpec, TpeSpec
from tuning.experiment.space import Space
from tuning.ledger.outcomes import Outcome
from tuning.search.proposal import Proposal
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.tpe import build_tpe
from tuning.search.study import Study


@dataclass(frozen=True)
class Function:
    """What is searched, and its loss: 0 at best."""

    space: Space
    loss: Callable[[Mapping[str, Any]], float]


def valley(params: Mapping[str, Any]) -> float:
    """A curved valley in the logarithms of two rates, and two numbers that matter less."""
    x = math.log10(params["learning_rate"]) + 3
    y = math.log10(params["head_learning_rate"]) + 2
    rest = (params["weight_decay"] - 0.1) ** 2 + (params["warmup"] - 0.3) ** 2
    return (y - x * x / 2) ** 2 + 0.2 * (x - 0.5) ** 2 + 0.3 * rest


RATE = {"float": [1e-5, 1e-1], "log": True}
FUNCTIONS = {
    "five settings, one with a condition": Function(space_with({}), loss_of),
    "four numbers": Function(
        Space.parse(
            {
                "learning_rate": RATE,
                "head_learning_rate": RATE,
                "weight_decay": {"float": [0.0, 0.5]},
                "warmup": {"float": [0.0, 1.0]},
            }
        ),
        valley,
    ),
}


def search(function: Function, seed: int, *, kept: bool) -> NDArray[np.float64]:
    """The lowest loss after each trial of one search."""
    spec = SearchSpec(seed=seed, tpe=TpeSpec())
    study = Study(function.space, spec, name="b", direction=Direction.MINIMIZE, trials=TRIALS)
    if kept:
        study._kept = build_tpe(TpeSpec(), Draw(seed, study.optuna, function.space, seed))
    losses = []
    while isinstance(proposal := study.propose(), Proposal):
        losses.append(function.loss(proposal.params))
        study.report(proposal.number, 1.0, losses[-1])
        study.tell(proposal.number, Outcome.COMPLETED, losses[-1])
    return np.minimum.accumulate(losses)


def main() -> None:
    """Print a row for each function and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=60)
    given = parser.parse_args()
    print("| | sampler |", " | ".join(f"{n} trials" for n in SHOWN), "|")
    print("|---|---|" + "---|" * len(SHOWN))
    for name, function in FUNCTIONS.items():
        kept, new = (
            np.array([search(function, seed, kept=way) for seed in range(given.seeds)])
            for way in (True, False)
        )
        print(
            f"| {name} | kept |", " | ".join(f"{kept[:, n - 1].mean():.4f}" for n in SHOWN), "|", flush=True
        )
        cells = []
        for n in SHOWN:
            low, high = interval(new[:, n - 1] - kept[:, n - 1])
            cells.append(f"{new[:, n - 1].mean():.4f} ({low:+.4f} to {high:+.4f})")
        print("| | new for each proposal |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
