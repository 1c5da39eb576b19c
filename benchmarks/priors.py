"""What a prior gains if it is right, and costs if it is wrong, on a function that costs nothing.

    python -m benchmarks.priors [--seeds 20] [--only random,tpe]

A loss of five settings: a learning rate, the weight decay, an adapter, a rank that only one adapter has, and
a batch size. Each search has 60 trials. Three settings have priors with the default confidence, or none has:
`right` is the best value, `near` half a decade and one rank off, `wrong` a bad one in all three. Printed is
the mean lowest loss over the seeds after 10, 20, 40 and 60 trials, and how much it differs from the search
without priors, paired by seed, with a 95 % interval (bootstrap).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.specs.workload import Direction
from tuning.experiment.sections.search import TAKE_PRIORS, SearchSpec
from tuning.experiment.space import Space
from tuning.ledger.outcomes import Outcome
from tuning.search.proposal import Proposal
from tuning.search.study import Study

BELIEFS: dict[str, Mapping[str, Any]] = {
    "none": {},
    "right": {"adapter": "lora", "learning_rate": 6e-4, "lora.rank": 16},
    "near": {"adapter": "lora", "learning_rate": 2e-4, "lora.rank": 8},
    "wrong": {"adapter": "none", "learning_rate": 3e-2, "lora.rank": 1},
}
TRIALS = 60
SHOWN = (10, 20, 40, 60)
_SPACE: dict[str, dict[str, Any]] = {
    "adapter": {"choice": ["lora", "loha", "none"]},
    "learning_rate": {"float": [1e-5, 1e-1], "log": True},
    "weight_decay": {"float": [0.0, 0.5]},
    "lora.rank": {"int": [1, 64], "log": True},
    "batch_size": {"choice": [4, 8, 16, 32]},
}


def space_with(believed: Mapping[str, Any]) -> Space:
    """The space, with a prior for each setting in `believed`."""
    return Space.parse(
        {n: d | ({"prior": {"value": believed[n]}} if n in believed else {}) for n, d in _SPACE.items()}
    )


def loss_of(params: Mapping[str, Any]) -> float:
    """0 at the best configuration."""
    loss = (math.log10(params["learning_rate"] / 6e-4)) ** 2 / 4 + (params["weight_decay"] - 0.1) ** 2
    loss += {"lora": 0.0, "loha": 0.1, "none": 0.3}[params["adapter"]]
    loss += (math.log2(params["lora.rank"]) - 4) ** 2 / 50 if "lora.rank" in params else 0.0
    return loss + 0.02 * abs(math.log2(params["batch_size"]) - 3)


def search(name: str, belief: str, seed: int, trials: int = TRIALS) -> NDArray[np.float64]:
    """The lowest loss after each trial of one search."""
    spec = SearchSpec.model_validate_json(json.dumps({name: {}, "seed": seed}))
    space = space_with(BELIEFS[belief])
    study = Study(space, spec, name="b", direction=Direction.MINIMIZE, trials=trials)
    losses = []
    while isinstance(proposal := study.propose(), Proposal):
        losses.append(loss_of(proposal.params))
        study.report(proposal.number, 1.0, losses[-1])
        study.tell(proposal.number, Outcome.COMPLETED, losses[-1])
    return np.minimum.accumulate(losses)


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean."""
    drawn = np.random.default_rng(0).choice(differences, (10_000, len(differences)))
    low, high = np.quantile(drawn.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Print a row for each sampler and belief."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default=",".join(TAKE_PRIORS))
    given = parser.parse_args()
    print("| | prior |", " | ".join(f"{n} trials" for n in SHOWN), "|")
    for name in given.only.split(","):
        plain: NDArray[np.float64] | None = None
        for belief in BELIEFS:
            runs = np.array([search(name, belief, seed) for seed in range(given.seeds)])
            plain = runs if plain is None else plain
            cells = []
            for trials in SHOWN:
                cell = f"{runs[:, trials - 1].mean():.3f}"
                if belief != "none":
                    low, high = interval(runs[:, trials - 1] - plain[:, trials - 1])
                    cell += f" ({low:+.3f} to {high:+.3f})"
                cells.append(cell)
            print(f"| `{name}` | {belief} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
