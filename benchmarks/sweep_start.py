"""How a sweep starts: from `adaptertune launch` to its first report, this checkout against another one.

    python -m benchmarks.sweep_start [--against DIR] [--against-python PATH] [--rounds 5] [--trials 4]

Each run is `adaptertune launch` of `sixteen_trials.yaml`, with an empty cache, so that data are prepared too.
The two checkouts take turns (A B A B ...). Every process of the sweep writes when it starts, when Ray is up,
and so on (`start_marks/sitecustomize.py`); the other times are those of the sweep's record. Printed are
medians, in seconds after the start of the command, and processor seconds, which a busy machine changes less:
those of the process that trains until its first step (a copy of the fork server begins at zero), and those of
all processes of the sweep, Ray's own included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.against import ROOT, compared, parser_of
from benchmarks.task16 import FOLDER, backbone, save_backbone

EXPERIMENT = ROOT / "benchmarks" / "sixteen_trials.yaml"
MARKED = ("ray up", "data ready", "trial arrives", "worker ready", "first step")
"""Events that a process marks, in their usual order; the first one of a kind counts."""
ROWS = (*MARKED, "first report", "last result", "exit", "worker's cpu", "all cpu")


@dataclass
class Checkout:
    """A checkout with its interpreter, and the times of each of its runs, by row."""

    folder: Path
    python: Path
    runs: list[dict[str, float]] = field(default_factory=list)

    def run(self, trials: int) -> None:
        """Launch the sweep once, and keep its times."""
        with tempfile.TemporaryDirectory() as scratch:
            self.runs.append(self._run(Path(scratch), trials))

    def _run(self, scratch: Path, trials: int) -> dict[str, float]:
        marks = scratch / "marks.jsonl"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks" / "start_marks"), str(self.folder)]),
            "ADAPTERTUNE_CACHE": str(scratch / "cache"),
            "BENCHMARK_START_MARKS": str(marks),
            "HF_HUB_OFFLINE": "1",
        }
        command = [
            *(str(self.python), "-P", "-m", "tuning.cli", "launch", str(EXPERIMENT)),
            *("--storage", str(scratch), "--set", f"search.trials={trials}"),
            *("--set", f"model.name={backbone()}"),
        ]
        began = time.time()
        done = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, text=True, check=False
        )
        ended = time.time()
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        events = _lines(marks)
        record = _lines(scratch / "sixteen-trials" / "ledger.jsonl")
        first = {name: next(e for e in events if e["event"] == name) for name in MARKED}
        row = {name: event["time"] - began for name, event in first.items()}
        times = {kind: [r["time"] for r in record if r["kind"] == kind] for kind in ("report", "ended")}
        return row | {
            "first report": min(times["report"]) - began,
            "last result": max(times["ended"]) - began,
            "exit": ended - began,
            "worker's cpu": first["first step"]["cpu"],
            "all cpu": first["first step"]["all"],
        }

    def median(self, row: str) -> float:
        """The median of all runs."""
        return statistics.median(run[row] for run in self.runs)


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def measure(checkouts: list[Checkout], rounds: int, trials: int) -> None:
    """Launch the sweep in every checkout, `rounds` times after one that warms the caches."""
    for turn in range(rounds + 1):
        # The two checkouts alternate in being first.
        for checkout in checkouts if turn % 2 else checkouts[::-1]:
            checkout.run(trials)
        if turn == 0:
            for checkout in checkouts:
                checkout.runs.clear()


def print_times(checkouts: list[Checkout]) -> None:
    """Print a line for each event and sum."""
    names = ("this", "other", "this/other") if len(checkouts) == 2 else ("this",)
    print(f"{'median s':<14}" + "".join(f"{name:>12}" for name in names))
    for row in ROWS:
        medians = [checkout.median(row) for checkout in checkouts]
        line = f"{row:<14}" + "".join(f"{each:>12.2f}" for each in medians)
        print(line + (f"{medians[0] / medians[1]:>12.2f}" if len(medians) == 2 else ""))


def main() -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--trials", type=int, default=4)
    given = parser.parse_args()
    checkouts = [Checkout(*each) for each in compared(given)]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        save_backbone(Path(folder))
        measure(checkouts, given.rounds, given.trials)
    print_times(checkouts)
    load = f"{before:.2f} before, {os.getloadavg()[0]:.2f} after"
    print(f"{os.cpu_count()} cores; medians of {given.rounds} rounds; load of the machine: {load}")


if __name__ == "__main__":
    main()
