"""Learning curves of the embedded segmentation task, as a table for `benchmarks.stopping_rules`.

    python -m benchmarks.own_curves [--configurations 200] [--minutes 30] [--file benchmarks/own_curves.npz]
    python -m benchmarks.stopping_rules --curves benchmarks/own_curves.npz

Configuration number n is drawn with the seed n, and trained alone on one thread of a CPU: 20 epochs on 48
images, validated on 24 others after each. The file holds `digits|Y`, (configurations, 21): 1 − Dice after
each epoch, NaN from the epoch at which training diverged; the first column, before training, is NaN; and
`digits|settings`, JSON by configuration. It is written after every few configurations, so the program can be
stopped at any time, and goes on where the file ends.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tuning.experiment.load import experiment_of_text
from tuning.experiment.spec import Experiment

FILE = Path(__file__).with_suffix(".npz")
EPOCHS = 20
EVERY = 5
"""Configurations between two writes."""
TEXT = f"""
name: digits
task: segmentation
model: {{name: embedded}}
data: {{embedded: {{domain: textured, train: 48, validation: 24, test: 1}}}}
objective: {{metric: dice, value: last}}
trial: {{epochs: {EPOCHS}, batch_size: 8}}
space:
  adapter: {{choice: [none, lora, loha, serial_lora]}}
  freezing:
    - {{choice: [head_only, full], when: {{adapter: none}}}}
    - {{choice: [frozen, unfrozen], when: {{adapter: [lora, loha, serial_lora]}}}}
  lora.rank: {{choice: [2, 4, 8, 16]}}
  loha.rank: {{choice: [2, 4, 8]}}
  serial_lora.rank: {{choice: [2, 4, 8]}}
  learning_rate: {{float: [1e-4, 3e-2], log: true}}
  weight_decay: {{float: [1e-4, 1e-1], log: true}}
  loss: {{choice: [cross_entropy, dice, cross_entropy_dice]}}
  schedule: {{choice: [constant, cosine]}}
search: {{random: {{}}, trials: 1}}
"""


def train_curve(engine: Any, experiment: Experiment, number: int) -> tuple[list[float], str]:
    """1 − Dice after each epoch, NaN from a divergence on, and the settings as JSON."""
    params = experiment.space.sample(random.Random(number))
    state = engine.start(experiment.trial_config(params | {"seed": number}), number=number)
    losses: list[float] = []
    while not state.done:
        for _, report in engine.advance([state]):
            losses.append(1 - report.metrics["dice"] if report.outcome != "diverged" else float("nan"))
    return losses + [float("nan")] * (EPOCHS - len(losses)), json.dumps(params)


def read(file: Path) -> tuple[list[list[float]], list[str]]:
    """What an earlier run has written."""
    if not file.exists():
        return [], []
    with np.load(file) as held:
        return held["digits|Y"][:, 1:].tolist(), held["digits|settings"].tolist()


def write(file: Path, curves: list[list[float]], settings: list[str]) -> None:
    """Replace the file in one step."""
    table = np.full((len(curves), EPOCHS + 1), np.nan, np.float32)
    table[:, 1:] = curves
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".npz", delete=False) as made:
        np.savez_compressed(made, **{"digits|Y": table, "digits|settings": np.array(settings)})  # type: ignore[arg-type]
    Path(made.name).chmod(0o644)
    os.replace(made.name, file)


def main() -> None:
    """Train what the file lacks."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30.0, help="stop before a configuration after these")
    parser.add_argument("--file", type=Path, default=FILE)
    args = parser.parse_args()
    import torch

    from trainables.preparation import prepare_workload
    from trainables.training.engine import Engine

    torch.set_num_threads(1)
    experiment = experiment_of_text(TEXT, "digits")
    engine = Engine(experiment.workload, prepare_workload(experiment.workload), device="cpu")
    curves, settings = read(args.file)
    began = time.monotonic()
    while len(curves) < args.configurations and time.monotonic() - began < 60 * args.minutes:
        curve, said = train_curve(engine, experiment, len(curves))
        curves.append(curve)
        settings.append(said)
        if len(curves) % EVERY == 0:
            write(args.file, curves, settings)
            print(f"{len(curves)} configurations, {time.monotonic() - began:.0f} s", flush=True)
    write(args.file, curves, settings)
    final = np.array(curves)[:, -1]
    print(
        f"{len(curves)} configurations; 1 - Dice at the end: {np.nanmin(final):.3f} to {np.nanmax(final):.3f}"
    )


if __name__ == "__main__":
    main()
