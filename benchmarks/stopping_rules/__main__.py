"""Stopping rules on recorded learning curves, by discrete-event simulation.

    python -m benchmarks.stopping_rules [--orders 200] [--tables recorded] [--curves PATH] [--check]

Needs ../shared/data/curves/taskset.npz: 6 tasks, 1,000 configurations, 50 epochs (see its README.md).
Each rule sees the same random orders of configurations, with 1, 4 and 16 trials at once. By rule:

- how many times fewer epochs than with Ray's ASHA all trials together need until a report is as good as the
  best 1 % (5 %) of all configurations at the end, with the 95 % interval over orders, and the task with the
  least gain
- regret: how far the best report within 250, 500 and 1,000 epochs is from the best of all, on average; the
  median configuration at the end has 1
- late: the share of late bloomers (of the best 5 % at the end, in the worse half after the first epoch) that
  ran all their epochs
- slow: the share of slow starters among the trials that ran all their epochs, where half start slowly
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stopping_rules.figures import Interval, mean_interval, mean_ratio_interval, ratio_interval
from benchmarks.stopping_rules.ours import Ours
from benchmarks.stopping_rules.recorded import TASKSET, Task, load_tasks, tied, with_slow_half
from benchmarks.stopping_rules.simulation import Asked, Looked, Run, simulate
from tuning.scheduling.context import AS_RAY

Build = Callable[[Task], Asked]
BASE = "Ray's ASHA"
LOOKED = Looked()
THRESHOLD = {"rule": "threshold"}


def _ours(task: Task, *, version: int | None = None, **section: Any) -> Asked:
    return Ours(section, epochs=task.losses.shape[1], version=version, groups=task.slow)


def _peer(task: Task, *, name: str) -> Asked:
    from benchmarks.stopping_rules import peers

    epochs = task.losses.shape[1]
    builders: dict[str, Callable[[], Asked]] = {
        "hyperband": lambda: peers.HyperbandModel(epochs=epochs),
        "median": peers.MedianModel,
        "real ray": lambda: peers.RayAsha(epochs=epochs),
        "real hyperband": lambda: peers.optuna_hyperband(epochs=epochs),
        "real median": peers.optuna_median,
    }
    return builders[name]()


RULES: Mapping[str, Build] = {
    BASE: partial(_ours, asha=THRESHOLD, version=AS_RAY),
    "asha, threshold": partial(_ours, asha=THRESHOLD),
    "asha, rank": partial(_ours, asha={"rule": "rank"}),
    "asha, rank, rest": partial(_ours, asha={"rule": "rank", "rest": True}),
    "hyperband": partial(_ours, hyperband={}),
    "pasha": partial(_ours, pasha={}),
    "median": partial(_ours, median={}),
    "Optuna's Hyperband": partial(_peer, name="hyperband"),
    "Optuna's median": partial(_peer, name="median"),
}
"""Ray's ASHA is our first version of `threshold`, which makes its decisions."""
ASHA: Mapping[str, Build] = {name: build for name, build in RULES.items() if "ASHA" in name or "asha" in name}
FACTOR_TWO: Mapping[str, Build] = {
    BASE: partial(_ours, asha=THRESHOLD | {"reduction_factor": 2.0}, version=AS_RAY),
    "asha, threshold": partial(_ours, asha=THRESHOLD | {"reduction_factor": 2.0}),
    "asha, rank": partial(_ours, asha={"rule": "rank", "reduction_factor": 2.0}),
    "asha, rank, rest": partial(_ours, asha={"rule": "rank", "rest": True, "reduction_factor": 2.0}),
}
GROUPED: Mapping[str, Build] = {
    BASE: RULES[BASE],
    "asha, rank": RULES["asha, rank"],
    "asha, rank, within": partial(_ours, asha={"rule": "rank", "within": ["group"]}),
    "asha, rank, rest": partial(_ours, asha={"rule": "rank", "rest": True}),
    "asha, rank, rest, within": partial(_ours, asha={"rule": "rank", "rest": True, "within": ["group"]}),
    "hyperband": RULES["hyperband"],
}
TABLES = ("recorded", "tied", "tied2", "floor", "floor2", "slow")
COLUMNS = (
    "rule",
    "best 1 %: epochs",
    "fewer",
    "in the mean",
    "worst task",
    "best 5 %: fewer",
    "regret",
    "late",
    "slow",
)
CHECKED = {BASE: "real ray", "Optuna's Hyperband": "real hyperband", "Optuna's median": "real median"}


def _runs(task: Task, build: Build, workers: int, orders: Sequence[int]) -> list[Run]:
    return [simulate(task, build(task), workers=workers, seed=seed, looked=LOOKED) for seed in orders]


def _table(title: str, tasks: Sequence[Task], rules: Mapping[str, Build], orders: int) -> None:
    """Simulate and print a table for each number of workers."""
    for workers in (1, 4, 16):
        begun = time.perf_counter()
        with ProcessPoolExecutor() as pool:
            asked = {
                name: [pool.submit(_runs, task, build, workers, range(orders)) for task in tasks]
                for name, build in rules.items()
            }
            found = {name: [future.result() for future in futures] for name, futures in asked.items()}
        took = time.perf_counter() - begun
        print(f"\n### {title}, {workers} at once, {orders} orders ({took:.0f} s)\n")
        print(f"| {' | '.join(COLUMNS)} |")
        print(f"|{'---|' * len(COLUMNS)}")
        base = found[BASE]
        for name, runs in found.items():
            _row(name, tasks, runs, base)
        for name, runs in found.items():
            if name.startswith("Optuna"):
                _against(name, tasks, found["asha, rank"], runs)


def _row(name: str, tasks: Sequence[Task], runs: list[list[Run]], base: list[list[Run]]) -> None:
    def reached(of: list[list[Run]], share: float) -> list[NDArray[np.float64]]:
        return [np.array([run.reached[share] for run in each], dtype=float) for each in of]

    fewer = {share: ratio_interval(reached(runs, share), reached(base, share)) for share in (0.01, 0.05)}
    each: list[Interval] = [
        ratio_interval([here], [there])
        for here, there in zip(reached(runs, 0.01), reached(base, 0.01), strict=True)
    ]
    whole = mean_ratio_interval(reached(runs, 0.01), reached(base, 0.01))
    regret = mean_interval([_regrets(task, of_task) for task, of_task in zip(tasks, runs, strict=True)])
    late = [_late(task, of_task) for task, of_task in zip(tasks, runs, strict=True)]
    slow = [_slow(task, of_task) for task, of_task in zip(tasks, runs, strict=True) if task.slow]
    print(
        f"| {name} | {np.mean([of.mean() for of in reached(runs, 0.01)]):.0f} | {fewer[0.01]} | {whole} |"
        f" {min(each, key=lambda ratio: ratio.value)} | {fewer[0.05]} |"
        f" {regret.value:.3f} ({regret.low:.3f} to {regret.high:.3f}) |"
        f" {100 * np.mean(late):.0f} % | {f'{100 * np.mean(slow):.0f} %' if slow else ''} |"
    )


def _regrets(task: Task, runs: Sequence[Run]) -> NDArray[np.float64]:
    return np.array([np.mean([task.regret(loss) for loss in run.losses.values()]) for run in runs])


def _against(name: str, tasks: Sequence[Task], ours: list[list[Run]], theirs: list[list[Run]]) -> None:
    """Print how much lower the regret of `rank` is on each task, paired by order."""
    lower = [
        mean_interval([_regrets(task, there) - _regrets(task, here)])
        for task, here, there in zip(tasks, ours, theirs, strict=True)
    ]
    print(f"\nregret of {name} less that of asha, rank, by task: {'; '.join(map(str, lower))}")


def _late(task: Task, runs: Sequence[Run]) -> float:
    """The share of the late bloomers among the started ones that ran all their epochs."""
    late = task.late_bloomers()
    started = sum(sum(c in late for c in run.started) for run in runs)
    return sum(sum(c in late for c in run.completed) for run in runs) / max(1, started)


def _slow(task: Task, runs: Sequence[Run]) -> float:
    """The share of slow starters among the trials that ran all their epochs."""
    completed = sum(len(run.completed) for run in runs)
    return sum(sum(c in task.slow for c in run.completed) for run in runs) / max(1, completed)


def check(tasks: Sequence[Task], orders: int) -> None:
    """Compare the models with the real classes, which are slow. Raises AssertionError if a run differs."""
    looked = Looked(budgets=(300,), most=300)
    for name, real in CHECKED.items():
        for task in tasks:
            for seed in range(orders):
                for workers in (1, 4):
                    here, there = (
                        simulate(task, build(task), workers=workers, seed=seed, looked=looked)
                        for build in (RULES[name], partial(_peer, name=real))
                    )
                    assert here == there, (name, task.name, seed, workers)
        print(
            f"{name}: as the real class on {len(tasks)} tasks, {orders} orders, 1 and 4 at once", flush=True
        )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--curves", type=Path, default=TASKSET)
    parser.add_argument("--tables", nargs="*", choices=TABLES, help="which tables; all if left out")
    parser.add_argument("--check", action="store_true", help="compare the models with the real classes only")
    given = parser.parse_args()
    if not given.curves.is_file():
        raise SystemExit(f"{given.curves} is not there; see ../shared/data/README.md")
    tasks = load_tasks(given.curves)
    print(f"load {os.getloadavg()[0]:.1f}")
    if given.check:
        check(tasks, 2)
        return
    floors = [tied(task) for task in tasks]
    lower = [tied(task, diverged=True) for task in tasks]
    slow = [with_slow_half(task, epochs=2) for task in tasks]
    tables: dict[str, tuple[str, list[Task], Mapping[str, Build]]] = {
        "recorded": ("recorded curves", tasks, RULES),
        "tied": ("half tied at the end, more at first", floors, ASHA),
        "tied2": ("half tied at the end, more at first, factor 2", floors, FACTOR_TWO),
        "floor": ("the same, diverged trials tied too", lower, ASHA),
        "floor2": ("the same, diverged trials tied too, factor 2", lower, FACTOR_TWO),
        "slow": ("half slow for 2 epochs", slow, GROUPED),
    }
    for name in given.tables or tables:
        title, of, rules = tables[name]
        _table(title, of, rules, given.orders)


if __name__ == "__main__":
    main()
