"""The driver's memory, and its time per trial, over ten thousand trials with a hundred metrics a report.

    python -m benchmarks.driver_memory [--trials 10000] [--metrics 100] [--against DIR]

Trials replay curves without training (`benchmarks.curves`), two at once, in the sweep of
`benchmarks/ten_thousand_trials.yaml`. Memory is the resident memory of the driver's process beyond that
at its tenth trial, which stands for an empty sweep: Ray runs, and every module is imported. Each value
`at N` is read at the end of trial N; times are means over the last tenth of N trials.

--against runs the same sweep with the code of another checkout, afterwards, and prints the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.against import compared, parser_of

EMPTY = 10
"""The trials of a sweep that counts as empty."""


def resident_mb() -> float:
    """The resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def curve_with(metrics: int) -> type[Any]:
    """The trainable of `benchmarks.curves`, whose reports hold so many metrics, at least 3."""
    from benchmarks.curves import Curve

    more = {f"metric_{number:03d}": number / 7 for number in range(metrics - 3)}

    class WithMetrics(Curve):
        """A curve whose reports hold more metrics."""

        def step(self) -> dict[str, Any]:
            result: dict[str, Any] = super().step()
            report = result["report"]
            if isinstance(report, dict):
                report["metrics"] |= more
            else:
                report.metrics.update(more)
            return result

    return WithMetrics


def sweep(trials: int, metrics: int, at: list[int]) -> list[dict[str, float]]:
    """Run the sweep; return memory and time at the given numbers of ended trials."""
    from tuning.experiment.load import load_experiment
    from tuning.ledger.records import EndedRecord
    from tuning.run.launch import launch_experiment

    file = Path(__file__).with_name("ten_thousand_trials.yaml")
    experiment = load_experiment(file, [f"search.trials={trials}"])
    found: list[dict[str, float]] = []
    ends: list[float] = []

    def on_event(record: Any) -> None:
        if not isinstance(record, EndedRecord):
            return
        ends.append(time.perf_counter())
        if (number := len(ends)) in at:
            last = ends[-1 - number // 10 :]
            each_ms = 1000 * (last[-1] - last[0]) / max(1, len(last) - 1)
            found.append({"trials": number, "mb": resident_mb(), "ms": each_ms})
            print(f"{number:6d} trials: {found[-1]['mb']:.0f} MB, {each_ms:.1f} ms each", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        launch_experiment(
            experiment,
            Path(folder),
            trainable=curve_with(metrics),
            prepare=lambda _: Path(folder) / "data",
            on_event=on_event,
        )
    return found


def sweep_in_process(root: Path, python: Path, given: argparse.Namespace) -> list[dict[str, float]]:
    """Run the sweep with the code of a checkout, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    # This file, also for a checkout that does not have it: it must not be found before its packages.
    code = (
        "import runpy, sys; sys.path[0] = sys.argv.pop(1);"
        f" runpy.run_path({str(Path(__file__))!r}, run_name='__main__')"
    )
    command = [str(python), "-c", code, str(root), "--one"]
    command += ["--trials", str(given.trials), "--metrics", str(given.metrics)]
    done = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the sweep with the code of {root} failed")
    values: list[dict[str, float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return values


def main() -> None:
    parser = parser_of(__doc__, rounds=1)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=100, help="metrics of each report, at least 3")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    at = sorted({EMPTY, given.trials // 10, given.trials})
    if given.one:
        print(json.dumps(sweep(given.trials, given.metrics, at)))
        return
    found = [sweep_in_process(root, python, given) for root, python in compared(given)]
    names = ["this checkout", "the other one"][: len(found)]
    print(f"{given.metrics} metrics a report, {os.cpu_count()} cores")
    print(f"{'':16s}" + "".join(f"{'MB at ' + str(n):>14s}" for n in at[1:]), end="")
    print("".join(f"{'ms at ' + str(n):>14s}" for n in at[1:]))
    grown = [[one["mb"] - values[0]["mb"] for one in values[1:]] for values in found]
    for name, more, values in zip(names, grown, found, strict=True):
        print(f"{name:16s}" + "".join(f"{mb:14.0f}" for mb in more), end="")
        print("".join(f"{one['ms']:14.1f}" for one in values[1:]))
    if len(found) == 2:
        print(f"memory, the other one ÷ this: {grown[1][-1] / grown[0][-1]:.1f}×")


if __name__ == "__main__":
    main()
