"""Sixteen LoRA trials as three programs side by side; prints times, ratios and mean Dice.

    python -m benchmarks.sixteen_trials [--rounds 3]

Every program is a process of its own, start-up counted; the three take turns, round by round, so
that a machine whose speed drifts treats them alike. Ours is the `adaptertune launch` command.
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
from pathlib import Path

from benchmarks.task16 import CONFIGURATIONS, FOLDER, backbone, save_backbone

ROOT = Path(__file__).resolve().parents[1]
OURS, LOOP, RAW = "adaptertune", "optuna loop", "raw ray tune"


def ours(folder: Path) -> tuple[list[float], float]:
    """Run our sweep; returns each trial's best Dice and the share of a step spent waiting for data."""
    from tuning.ledger import read_history

    first = [
        {"lora.rank": c["rank"], "lora.alpha": c["alpha"], "learning_rate": c["learning_rate"]}
        for c in CONFIGURATIONS
    ]
    command = [
        *(sys.executable, "-m", "tuning.cli", "launch", str(ROOT / "benchmarks" / "sixteen_trials.yaml")),
        *("--storage", str(folder), "--set", f"search.first={json.dumps(first)}"),
        *("--set", f"model.name={backbone()}"),
    ]
    _run(command, folder)
    history = read_history(folder / "sixteen-trials")
    reports = [report for trial in history.trials.values() for report in trial.reports]
    waited = sum(r.wait_s for r in reports) / sum(r.train_s for r in reports)
    return [max(r.metrics["dice"] for r in t.reports) for t in history.trials.values()], waited


def peer(module: str, folder: Path) -> list[float]:
    """Run a peer; it prints its trials' best Dice as its last line."""
    output = _run([sys.executable, "-m", module], folder)
    values: list[float] = json.loads(output.strip().splitlines()[-1])["values"]
    return values


def _run(command: list[str], folder: Path) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "ADAPTERTUNE_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


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
    """Let the three programs take turns, and print what came out."""
    seconds: dict[str, list[float]] = {OURS: [], LOOP: [], RAW: []}
    dice: dict[str, list[float]] = {OURS: [], LOOP: [], RAW: []}
    waits: list[float] = []
    for turn in range(rounds):
        for name in seconds:
            with tempfile.TemporaryDirectory() as scratch:
                started = time.perf_counter()
                if name == OURS:
                    values, waited = ours(Path(scratch))
                    waits.append(waited)
                else:
                    module = "benchmarks.peers." + ("optuna_loop" if name == LOOP else "raw_ray_tune")
                    values = peer(module, Path(scratch))
                seconds[name].append(time.perf_counter() - started)
            dice[name].append(statistics.mean(values))
            print(
                f"round {turn + 1}  {name:13s} {seconds[name][-1]:6.1f} s  "
                f"{len(values)} trials, mean best Dice {dice[name][-1]:.4f}",
                flush=True,
            )
    middle = {name: statistics.median(s) for name, s in seconds.items()}
    means = {name: statistics.mean(d) for name, d in dice.items()}
    print(f"\n{os.cpu_count()} cores; median of {rounds} rounds, whole processes")
    for name in seconds:
        print(
            f"  {name:13s} {middle[name]:6.1f} s   {middle[name] / middle[OURS]:.2f}× ours   "
            f"mean Dice {means[name]:.4f}"
        )
    print(f"  spread of mean Dice {max(means.values()) - min(means.values()):.4f}")
    print(f"  waiting for data {100 * statistics.median(waits):.1f} % of a step")


if __name__ == "__main__":
    main()
