"""The cost of a proposal: each algorithm of `search` after 100, 500 and 2,000 trials.

    python -m benchmarks.samplers [--trials 100 500 2000] [--only gp,tpe] [--rounds 5]

The study is built again from a ledger of as many trials of random configurations with invented values: one in
three ran to its end, the others were pruned at epoch 1 or 3. Then each further proposal is timed, without
ending any. `flat` is a space of four numbers, `branched` the space of a sweep over adapters: two choices,
five numbers, three conditions. Printed are processor times, with one thread: the median and the maximum in
milliseconds, and the seconds that building the study took.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from trainables.specs.workload import Direction
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space, config_hash
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import (
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    SamplerAttributes,
    StartedRecord,
)
from tuning.search.proposal import Proposal
from tuning.search.study import Study

SEARCHES: dict[str, dict[str, Any]] = {
    "random": {"random": {}},
    "qmc": {"qmc": {}},
    "tpe": {"tpe": {}},
    "nsga2": {"nsga2": {}},
    "cmaes": {"cmaes": {}},
    "gp": {"gp": {}},
}
FLAT = Space.parse(
    {
        "learning_rate": {"float": [1e-5, 1e-1], "log": True},
        "weight_decay": {"float": [1e-6, 1e-1], "log": True},
        "warmup": {"float": [0.0, 0.3]},
        "lora.rank": {"int": [1, 64], "log": True},
    }
)
BRANCHED = Space.parse(
    {
        "adapter": {"choice": ["lora", "loha", "none"]},
        "freezing": [
            {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
            {"choice": ["frozen", "unfrozen"], "when": {"adapter": ["lora", "loha"]}},
        ],
        "learning_rate": {"float": [1e-5, 1e-1], "log": True},
        "weight_decay": {"float": [1e-6, 1e-1], "log": True},
        "warmup": {"float": [0.0, 0.3]},
        "lora.rank": {"int": [1, 64], "log": True},
        "loha.rank": {"int": [1, 64], "log": True},
    }
)
SPACES = {"flat": FLAT, "branched": BRANCHED}


def records_of(space: Space, trials: int, *, seed: int = 0) -> list[Record]:
    """A ledger of ended trials."""
    rng = random.Random(seed)
    found: list[Record] = []
    for number in range(trials):
        params = space.sample(rng)
        rate = params["learning_rate"]
        assert isinstance(rate, float)
        best = 1.0 - 0.2 * abs(math.log10(rate) + 2.5) + rng.gauss(0.0, 0.02)
        note = SamplerAttributes() if number else None
        found.append(StartedRecord(trial=number, params=params, hash=config_hash(params), sampler=note))
        last = rng.choice((1, 3, 9))
        for epoch in range(1, last + 1):
            value = best * (1.0 - 0.5**epoch)
            found.append(ReportRecord(trial=number, epoch=epoch, step=epoch, objective=value))
        outcome = Outcome.COMPLETED if last == 9 else Outcome.PRUNED
        found.append(EndedRecord(trial=number, outcome=outcome, value=value, epoch=last))
    return found


def measure(search: dict[str, Any], space: Space, trials: int, rounds: int) -> tuple[float, list[float]]:
    """Seconds to build the study, and milliseconds of each proposal."""
    history = History.of(ExperimentRecord(name="b", file="", experiment={}), records_of(space, trials))
    spec = SearchSpec.model_validate_json(json.dumps(search))
    begun = time.process_time()
    study = Study(
        space, spec, name="b", direction=Direction.MAXIMIZE, trials=trials + rounds, history=history
    )
    built = time.process_time() - begun
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        assert isinstance(study.propose(), Proposal)
        times.append(1000 * (time.process_time() - begun))
    return built, times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--only", default=",".join(SEARCHES))
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{'search':8} {'space':9} {'trials':>6} {'median ms':>10} {'max ms':>10} {'built s':>8}")
    for name in asked.only.split(","):
        for kind, space in SPACES.items():
            if name == "cmaes" and kind == "branched":
                continue  # refused
            for trials in asked.trials:
                built, times = measure(SEARCHES[name], space, trials, asked.rounds)
                print(
                    f"{name:8} {kind:9} {trials:6} {statistics.median(times):10.1f} {max(times):10.1f}"
                    f" {built:8.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
