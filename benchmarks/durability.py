"""What `durability: disk` costs: a line of the ledger, and a checkpoint, with and without waiting for it.

    python -m benchmarks.durability [--folder DIR] [--lines 500] [--checkpoints 50] [--mb 5]

Both ways take turns, so that what else the machine does falls on both. Printed are medians and the 95th
percentile in milliseconds. --folder is on the disk in question.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trainables.training.checkpoint import write_packed
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import ExperimentRecord, ReportRecord


def timed(call: Callable[[bool], object], rounds: int) -> dict[bool, list[float]]:
    """Milliseconds of each call, without and with waiting for the disk, in turns."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for durable, times in found.items():
            began = time.perf_counter()
            call(durable)
            times.append(1000 * (time.perf_counter() - began))
    return found


def row(name: str, times: dict[bool, list[float]]) -> str:
    """A row of the table."""
    cells = [
        f"{statistics.median(each):.3f} ({sorted(each)[int(0.95 * len(each))]:.3f})"
        for each in times.values()
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--folder", type=Path, help="on the disk in question; the temporary folder if left out"
    )
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--checkpoints", type=int, default=50)
    parser.add_argument("--mb", type=float, default=5.0)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}\n")
    print("| ms, median (95th percentile) | os | disk |\n|---|---|---|")
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        folder = Path(made)
        report = ReportRecord(trial=0, epoch=1.0, step=40, objective=0.5, metrics={"dice": 0.5, "loss": 0.5})
        with Ledger.create(
            folder / "sweep", ExperimentRecord(name="sweep", file="", experiment={})
        ) as ledger:

            def append(durable: bool) -> None:
                ledger.durable = durable
                ledger.append(report)

            print(row("a report in the ledger", timed(append, given.lines)))
        payload = os.urandom(int(given.mb * 1e6))
        times = timed(lambda d: write_packed(payload, folder / "last.ckpt", durable=d), given.checkpoints)
        print(row(f"a checkpoint of {given.mb:g} MB", times))


if __name__ == "__main__":
    main()
