"""How long commands take from their start to their end, this checkout against another one.

    python -m benchmarks.start_up [--against DIR] [--against-python PATH] [--rounds 21]

Each command runs as a whole process of `python -m tuning.cli`, on a copy of a small recorded experiment. The
two checkouts take turns (A B A B ...), so that a busy machine slows both alike. For each command it prints
the median wall time and processor time, and the ratio of this checkout to the other one. Without --against,
it measures this checkout alone. A command that the other checkout does not have (an exit code other than 0)
has no time there.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.against import ROOT, compared, parser_of

RECORDED = ROOT / "tests" / "fixtures" / "recorded_before" / "finished"
COMMANDS = (
    ("--help",),
    ("--version",),
    ("validate", "quickstart"),
    ("list",),
    ("best", RECORDED.name),
    ("status", RECORDED.name),
    ("query", RECORDED.name, "SELECT count(*) FROM trials"),
    ("best", "--help"),
    ("launch", "--help"),
)


@dataclass
class Checkout:
    """A checkout with its interpreter, and the seconds (wall, processor) of each command."""

    folder: Path
    python: Path
    times: dict[tuple[str, ...], list[tuple[float, float]]] = field(default_factory=dict)

    def run(self, arguments: tuple[str, ...], storage: Path) -> None:
        """Run a command once and keep its times, unless it fails."""
        environment = os.environ | {"PYTHONPATH": str(self.folder), "ADAPTERTUNE_STORAGE": str(storage)}
        command = [str(self.python), "-P", "-m", "tuning.cli", *arguments]
        before, started = _children_s(), time.perf_counter()
        done = subprocess.run(command, cwd=storage, env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            seconds = time.perf_counter() - started, _children_s() - before
            self.times.setdefault(arguments, []).append(seconds)

    def medians(self, arguments: tuple[str, ...]) -> tuple[float, float] | None:
        """The median wall and processor seconds of a command; None if it never succeeded."""
        times = self.times.get(arguments)
        if not times:
            return None
        return statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(checkouts: list[Checkout], rounds: int) -> None:
    """Run every command in every checkout, `rounds` times after one that warms the caches."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        shutil.copytree(RECORDED, storage / RECORDED.name)
        for turn in range(rounds + 1):
            for arguments in COMMANDS:
                # The two checkouts alternate in being first.
                for checkout in checkouts if turn % 2 else checkouts[::-1]:
                    checkout.run(arguments, storage)
            if turn == 0:
                for checkout in checkouts:
                    checkout.times.clear()


def print_times(checkouts: list[Checkout]) -> None:
    """Print a line for each command."""
    both = len(checkouts) == 2
    names = ("this", "other")[: len(checkouts)]
    print(f"{'':<44}" + "".join(f"{name:>22}" for name in names) + (f"{'this/other':>22}" if both else ""))
    units = f"{'wall ms':>13}{'cpu ms':>9}" * len(checkouts) + (f"{'wall':>13}{'cpu':>9}" if both else "")
    print(f"{'command':<44}{units}")
    for arguments in COMMANDS:
        found = [times for checkout in checkouts if (times := checkout.medians(arguments)) is not None]
        line = f"{' '.join(arguments):<44}"
        line += "".join(f"{1000 * wall:>13.0f}{1000 * cpu:>9.0f}" for wall, cpu in found)
        if len(found) == 2:
            (wall, cpu), (other_wall, other_cpu) = found
            line += f"{wall / other_wall:>13.2f}{cpu / other_cpu:>9.2f}"
        print(line)


def main() -> None:
    parser = parser_of(__doc__, rounds=21)
    given = parser.parse_args()
    checkouts = [Checkout(*each) for each in compared(given)]
    before = os.getloadavg()[0]
    measure(checkouts, given.rounds)
    print_times(checkouts)
    load = f"{before:.2f} before, {os.getloadavg()[0]:.2f} after"
    print(f"{os.cpu_count()} cores; medians of {given.rounds} rounds; load of the machine: {load}")


if __name__ == "__main__":
    main()
