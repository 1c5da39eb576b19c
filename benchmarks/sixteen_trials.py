"""Sixteen LoRA trials with each of three programs; prints times, ratios and mean Dice.

    python -m benchmarks.sixteen_trials [--rounds 3]

Every program is a separate process, timed from its start to its last trial's result; the three take
turns, round by round, so that drift of the machine's speed affects them equally. Ours is the
`adaptertune launch` command: its last result is the last in its record. A peer prints its results as
soon as it has the last one. The time of the whole process, with its shutdown, is printed as well.
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
from dataclasses import dataclass
from pathlib import Path

from benchmarks.task16 import CONFIGURATIONS, FOLDER, backbone, save_backbone

ROOT = Path(__file__).resolve().parents[1]
OURS, LOOP, RAW = "adaptertune", "optuna loop", "raw ray tune"
PEERS = {LOOP: "benchmarks.peers.optuna_loop", RAW: "benchmarks.peers.raw_ray_tune"}


@dataclass(frozen=True)
class Run:
    """One program's run.

    last_result_s, whole_s: seconds from the process's start to its last trial's result, and to its end.
    values: each trial's best Dice with the background, as all three programs measure it.
    wait: share of a step spent waiting for data, if it is measured.
    """

    last_result_s: float
    whole_s: float
    values: list[float]
    wait: float | None = None


def ours(folder: Path) -> Run:
    """Run our sweep and read its record."""
    from tuning.ledger.ledger import read_history

    first = [
        {"lora.rank": c["rank"], "lora.alpha": c["alpha"], "learning_rate": c["learning_rate"]}
        for c in CONFIGURATIONS
    ]
    command = [
        *(sys.executable, "-m", "tuning.cli", "launch", str(ROOT / "benchmarks" / "sixteen_trials.yaml")),
        *("--storage", str(folder), "--set", f"search.first={json.dumps(first)}"),
        *("--set", f"model.name={backbone()}"),
    ]
    started, _, whole_s = _run(command, folder)
    history = read_history(folder / "sixteen-trials")
    reports = [report for trial in history.trials.values() for report in trial.reports]
    return Run(
        last_result_s=max(t.ended.time for t in history.trials.values() if t.ended) - started,
        whole_s=whole_s,
        values=[max(r.metrics["dice_with_background"] for r in t.reports) for t in history.trials.values()],
        wait=sum(r.wait_s for r in reports) / sum(r.train_s for r in reports),
    )


def peer(module: str, folder: Path) -> Run:
    """Run a peer; its last line holds its trials' best Dice and the time of the last result."""
    started, output, whole_s = _run([sys.executable, "-m", module], folder)
    last = json.loads(output.strip().splitlines()[-1])
    return Run(last["at"] - started, whole_s, last["values"])


def _run(command: list[str], folder: Path) -> tuple[float, str, float]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "ADAPTERTUNE_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    started = time.time()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return started, done.stdout, time.time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        save_backbone(Path(folder))
        compare(rounds)


def compare(rounds: int) -> None:
    """Run the three programs in turn, and print the results."""
    runs: dict[str, list[Run]] = {OURS: [], LOOP: [], RAW: []}
    for turn in range(rounds):
        for name, done in runs.items():
            with tempfile.TemporaryDirectory() as scratch:
                done.append(ours(Path(scratch)) if name == OURS else peer(PEERS[name], Path(scratch)))
            run = done[-1]
            print(
                f"round {turn + 1}  {name:13s} {run.last_result_s:6.1f} s  (process {run.whole_s:5.1f} s)"
                f"  {len(run.values)} trials, mean best Dice {statistics.mean(run.values):.4f}",
                flush=True,
            )
    last = {name: statistics.median(r.last_result_s for r in done) for name, done in runs.items()}
    whole = {name: statistics.median(r.whole_s for r in done) for name, done in runs.items()}
    means = {name: statistics.mean(v for r in done for v in r.values) for name, done in runs.items()}
    waits = [run.wait for run in runs[OURS] if run.wait is not None]
    print(f"\n{os.cpu_count()} cores; median of {rounds} rounds: time to the last result, whole process")
    for name in runs:
        print(
            f"  {name:13s} {last[name]:6.1f} s  {last[name] / last[OURS]:.2f}× ours   "
            f"{whole[name]:6.1f} s  {whole[name] / whole[OURS]:.2f}× ours   mean Dice {means[name]:.4f}"
        )
    print(f"  spread of mean Dice {max(means.values()) - min(means.values()):.4f}")
    print(f"  waiting for data {100 * statistics.median(waits):.1f} % of a step")


if __name__ == "__main__":
    main()
