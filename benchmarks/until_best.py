"""How long four programs take until a configuration within 1 % of the best: ours, two Optuna loops, Ray Tune.

    python -m benchmarks.until_best [--seeds 5] [--trials 32] [--epochs 6] [--train 256] [--programs ours ...]
                                    [--within 0.01] [--out FILE]

All search the space of the quickstart, with its data, backbone, batches and epochs, its `first`
configurations and TPE. Ours is `adaptertune launch quickstart`, with ASHA as shipped. The others are programs
over transformers and peft: a loop with Optuna's TPE; the same with Optuna's own successive halving; and raw
Ray Tune with OptunaSearch and ASHA. They take turns, seed by seed; the seed is the sampler's.

A program's time is that from the start of its process to its first report of a validation Dice (the mean over
the foreground) within 1 % of the best that any program reported with that seed. A program without such a
report is "not reached": its time counts as infinite in medians and ratios. Where neither ours nor a peer
reached it, that seed is left out of their ratio. --out keeps all reports, so that other thresholds need no
other run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sixteen_trials import load, run_program
from benchmarks.task16 import FOLDER

Reports = list[tuple[float, float]]
"""(seconds since the start of the process, Dice) of each report, in the order of time."""
OURS = "ours"


@dataclass(frozen=True)
class Program:
    """A peer. module: takes the task as JSON, then `options`."""

    title: str
    module: str
    options: tuple[str, ...] = ()


LOOP = "benchmarks.peers.until_best_optuna"
PEERS = {
    "optuna": Program("optuna loop, TPE", LOOP),
    "optuna-pruned": Program("the same, pruned", LOOP, ("--prune",)),
    "ray": Program("raw ray tune, ASHA", "benchmarks.peers.until_best_ray"),
}
TITLES = {OURS: "adaptertune"} | {name: program.title for name, program in PEERS.items()}


def task_of(given: argparse.Namespace) -> dict[str, Any]:
    """What the peers need of the quickstart, with the sizes of this run."""
    from tuning.experiment.load import load_experiment

    experiment = load_experiment("quickstart")
    settings = experiment.model_dump(mode="json")
    epochs = given.epochs or settings["trial"]["epochs"]
    return {
        "train": given.train or settings["data"]["embedded"]["train"],
        "validation": given.validation or settings["data"]["embedded"]["validation"],
        "side": settings["data"]["embedded"]["side"],
        "batch": settings["trial"]["batch_size"],
        "epochs": epochs,
        "trials": given.trials,
        "first": settings["search"]["first"],
        "startup_trials": settings["search"]["tpe"]["startup_trials"],
        "grace_epochs": min(epochs, settings["scheduler"]["asha"]["grace_epochs"]),  # Ray takes no more
        "reduction_factor": settings["scheduler"]["asha"]["reduction_factor"],
    }


def ours(task: Mapping[str, Any], folder: Path) -> Reports:
    """Launch the quickstart and read its record."""
    from tuning.ledger.ledger import read_history

    sizes = {
        "search.seed": task["seed"],
        "trial.epochs": task["epochs"],
        "data.embedded.train": task["train"],
        "data.embedded.validation": task["validation"],
        "scoring.trials": "none",
    }
    command = [sys.executable, "-m", "tuning.cli", "launch", "quickstart", "--storage", str(folder)]
    command += ["--trials", str(task["trials"])]
    for key, value in sizes.items():
        command += ["--set", f"{key}={value}"]
    started, _, _ = run_program(command, folder)
    trials = read_history(folder / "quickstart").trials.values()
    reports = [(r.time - started, r.metrics["dice"]) for trial in trials for r in trial.reports]
    return sorted((at, value) for at, value in reports if value is not None)


def peer(program: Program, task: Mapping[str, Any], folder: Path) -> Reports:
    """Run a peer; its last line holds its reports."""
    command = [sys.executable, "-m", program.module, json.dumps(task), *program.options]
    started, output, _ = run_program(command, folder)
    return [(at - started, value) for at, value in json.loads(output.strip().splitlines()[-1])["reports"]]


def time_to(reports: Reports, target: float) -> float:
    """The time of the first report that reaches the target; infinite if none does."""
    return min((at for at, value in reports if value >= target), default=math.inf)


def times_of(found: Mapping[str, Reports], within: float) -> dict[str, float]:
    """Each program's time to a value within `within` (a share) of the best of all of them."""
    best = max(value for reports in found.values() for _, value in reports)
    return {name: time_to(reports, best * (1 - within)) for name, reports in found.items()}


def ratio(peer_s: float, ours_s: float) -> float | None:
    """The peer's time in units of ours: infinite if only ours reached it, 0 if only the peer did."""
    if math.isinf(peer_s) and math.isinf(ours_s):
        return None
    return peer_s / ours_s


def compare(given: argparse.Namespace) -> None:
    """Run the programs in turn for each seed, print their times, then medians and ranges."""
    task = task_of(given)
    sizes = ", ".join(f"{key} {task[key]}" for key in ("trials", "epochs", "train", "validation", "batch"))
    print(f"{sizes}; {os.cpu_count()} cores, load {load()}", flush=True)
    found: dict[int, dict[str, Reports]] = {}
    for seed in range(given.seeds):
        found[seed] = {}
        for name in given.programs:
            with tempfile.TemporaryDirectory() as scratch:
                asked, started = task | {"seed": seed}, time.perf_counter()
                done = ours(asked, Path(scratch)) if name == OURS else peer(PEERS[name], asked, Path(scratch))
            found[seed][name] = done
            best = max(value for _, value in done)
            print(
                f"seed {seed}  {TITLES[name]:20s} {len(done):4d} reports, best Dice {best:.4f}"
                f", {time.perf_counter() - started:6.1f} s in all, load {load()}",
                flush=True,
            )
        if given.out is not None:
            given.out.write_text(json.dumps({"task": task, "reports": found}), encoding="utf-8")
    print("\n" + "\n".join(table(found, given.within)))


def table(found: Mapping[int, Mapping[str, Reports]], within: float) -> list[str]:
    """The times of each seed, and the median and range of times and ratios."""
    times = {seed: times_of(reports, within) for seed, reports in found.items()}
    names = list(next(iter(times.values())))
    peers = [name for name in names if name != OURS and OURS in names]
    lines = [f"seconds to {100 * (1 - within):g} % of the seed's best Dice; × ours"]
    lines.append("".join(f"{title:>26}" for title in ("seed", *(TITLES[name] for name in names))))

    def line(title: str, seconds: Mapping[str, float], ratios: Mapping[str, float | None]) -> str:
        cells = [f"{_s(seconds[name])} {_times(ratios[name]) if name in peers else '':>8}" for name in names]
        return "".join(f"{cell:>26}" for cell in (title, *cells))

    found_ratios: dict[str, list[float]] = {name: [] for name in peers}
    for seed, row in times.items():
        this = {name: ratio(row[name], row[OURS]) for name in peers}
        for name, value in this.items():
            found_ratios[name] += [] if value is None else [value]
        lines.append(line(str(seed), row, this))
    columns = {name: [row[name] for row in times.values()] for name in names}
    summaries: dict[str, Callable[[list[float]], float]] = {"median": statistics.median}
    for title, summary in (summaries | {"least": min, "most": max}).items():
        seconds = {name: summary(columns[name]) for name in names}
        ratios = {name: summary(each) if each else None for name, each in found_ratios.items()}
        lines.append(line(title, seconds, ratios))
    for name in names:
        missed = sum(map(math.isinf, columns[name]))
        if missed:
            lines.append(f"{TITLES[name]}: not reached with {missed} of {len(times)} seeds")
    return lines


def _s(seconds: float) -> str:
    return "not reached" if math.isinf(seconds) else f"{seconds:.1f} s"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--epochs", type=int, help="of a trial; those of the quickstart by default")
    parser.add_argument("--train", type=int, help="training images; those of the quickstart by default")
    parser.add_argument(
        "--validation", type=int, help="validation images; those of the quickstart by default"
    )
    parser.add_argument(
        "--within", type=float, default=0.01, help="the share of the best that may be missing"
    )
    parser.add_argument("--programs", nargs="+", choices=TITLES, default=list(TITLES), metavar="PROGRAM")
    parser.add_argument("--out", type=Path, help="a JSON file for the reports of all programs")
    given = parser.parse_args(arguments)
    for name in ("seeds", "trials", "epochs", "train", "validation"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if not 0 <= given.within < 1:
        parser.error(f"--within must be from 0 to below 1, got {given.within}")
    from trainables.backbones import EMBEDDED
    from trainables.specs.workload import Task

    os.environ[FOLDER] = str(EMBEDDED[Task.SEGMENTATION])
    compare(given)


if __name__ == "__main__":
    main()
