"""Sixteen or 32 LoRA trials with each of several programs; prints times, ratios and mean Dice.

    python -m benchmarks.sixteen_trials [--rounds 3] [--trials 32] [--batch 2] [--peers optuna ray ...]

Every program is a separate process, timed from its start to its last trial's result; they take
turns, round by round, so that drift of the machine's speed affects them equally. Ours is the
`adaptertune launch` command: its last result is the last in its record. A peer prints its results as
soon as it has the last one. The time of the whole process, with its shutdown, is printed as well.

The Optuna loop runs with torch's default threads and with one: on a busy machine its threads wait for each
other. Ray gives a worker as many threads as it has CPUs, so one; `--peers ray-one-thread` limits its driver
too. The load of the machine is printed at the start and after each program.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.task16 import FOLDER, add_options, backbone, configurations, save_backbone

ROOT = Path(__file__).resolve().parents[1]
OURS = "adaptertune"
LOOP, RAW = "benchmarks.peers.optuna_loop", "benchmarks.peers.raw_ray_tune"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Peer:
    """A program to compare with. environment: variables that differ from those of this process."""

    title: str
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)


PEERS = {
    "optuna": Peer("optuna loop", LOOP),
    "optuna-one-thread": Peer("optuna loop, one thread", LOOP, ONE_THREAD),
    "ray": Peer("raw ray tune", RAW),
    "ray-one-thread": Peer("raw ray tune, one thread", RAW, ONE_THREAD),
}
BY_DEFAULT = ("optuna", "optuna-one-thread", "ray")


@dataclass(frozen=True)
class Run:
    """One program's run.

    last_result_s, whole_s: seconds from the process's start to its last trial's result, and to its end.
    values: each trial's best Dice with the background, as all programs measure it.
    wait: share of a step spent waiting for data, if it is measured.
    """

    last_result_s: float
    whole_s: float
    values: list[float]
    wait: float | None = None


def ours(folder: Path, trials: int, batch: int) -> Run:
    """Run our sweep and read its record."""
    from tuning.ledger.ledger import read_history

    first = [
        {"lora.rank": c["rank"], "lora.alpha": c["alpha"], "learning_rate": c["learning_rate"]}
        for c in configurations(trials)
    ]
    command = [
        *(sys.executable, "-m", "tuning.cli", "launch", str(ROOT / "benchmarks" / "sixteen_trials.yaml")),
        *("--storage", str(folder), "--set", f"search.first={json.dumps(first)}"),
        *("--trials", str(trials), "--set", f"trial.batch_size={batch}"),
        *("--set", f"model.name={backbone()}"),
    ]
    started, _, whole_s = run_program(command, folder)
    history = read_history(folder / "sixteen-trials")
    reports = [report for trial in history.trials.values() for report in trial.reports]
    return Run(
        last_result_s=max(t.ended.time for t in history.trials.values() if t.ended) - started,
        whole_s=whole_s,
        values=[max(r.metrics["dice_with_background"] for r in t.reports) for t in history.trials.values()],
        wait=sum(r.wait_s for r in reports) / sum(r.train_s for r in reports),
    )


def peer(program: Peer, folder: Path, trials: int, batch: int) -> Run:
    """Run a peer; its last line holds its trials' best Dice and the time of the last result."""
    size = ["--trials", str(trials), "--batch", str(batch)]
    started, output, whole_s = run_program(
        [sys.executable, "-m", program.module, *size], folder, program.environment
    )
    last = json.loads(output.strip().splitlines()[-1])
    return Run(last["at"] - started, whole_s, last["values"])


def run_program(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[float, str, float]:
    """Run a program in `folder`; returns when it started, what it printed, and its seconds."""
    given = os.environ | {
        "PYTHONPATH": str(ROOT),
        "ADAPTERTUNE_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    started = time.time()
    done = subprocess.run(
        command, cwd=folder, env=given | dict(environment or {}), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return started, done.stdout, time.time() - started


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=BY_DEFAULT, metavar="PEER")
    add_options(parser)
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {given.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        save_backbone(Path(folder))
        compare(given)


def compare(given: argparse.Namespace) -> None:
    """Run the programs in turn, and print the results."""
    print(f"{given.trials} trials, batches of {given.batch}, {os.cpu_count()} cores, load {load()}")
    peers = {PEERS[name].title: PEERS[name] for name in given.peers}
    runs: dict[str, list[Run]] = {name: [] for name in (OURS, *peers)}
    wide = max(map(len, runs))
    for turn in range(given.rounds):
        for name, done in runs.items():
            with tempfile.TemporaryDirectory() as scratch:
                size = Path(scratch), given.trials, given.batch
                done.append(ours(*size) if name == OURS else peer(peers[name], *size))
            run = done[-1]
            print(
                f"round {turn + 1}  {name:{wide}s} {run.last_result_s:6.1f} s  (process {run.whole_s:5.1f} s)"
                f"  {len(run.values)} trials, mean best Dice {statistics.mean(run.values):.4f}"
                f"  load {load()}",
                flush=True,
            )
    last = {name: statistics.median(r.last_result_s for r in done) for name, done in runs.items()}
    whole = {name: statistics.median(r.whole_s for r in done) for name, done in runs.items()}
    means = {name: statistics.mean(v for r in done for v in r.values) for name, done in runs.items()}
    waits = [run.wait for run in runs[OURS] if run.wait is not None]
    print(f"\nmedian of {given.rounds} rounds: time to the last result, whole process")
    for name in runs:
        print(
            f"  {name:{wide}s} {last[name]:6.1f} s  {last[name] / last[OURS]:.2f}× ours   "
            f"{whole[name]:6.1f} s  {whole[name] / whole[OURS]:.2f}× ours   mean Dice {means[name]:.4f}"
        )
    print(f"  spread of mean Dice {max(means.values()) - min(means.values()):.4f}")
    print(f"  waiting for data {100 * statistics.median(waits):.1f} % of a step")


def load() -> str:
    """The mean number of processes that ran or waited for a core in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
