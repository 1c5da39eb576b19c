"""How a trial's latency, as an objective of a sweep, depends on what else the machine does.

    python -m benchmarks.trial_latency [--times 20] [--beside 2]

The latency of one model is measured many times: beside nothing, beside processes that train and pause for the
measurement as workers of a sweep with `latency_ms` do, and beside the same processes if they did not pause.
Printed are the median, the range of the middle 80 %, and the longest time that a measurement took as a whole.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from trainables.inference.trial_latency import trial_latency
from trainables.preparation import prepare_workload
from trainables.specs.data import DataSpec, EmbeddedData, Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ObjectiveSpec, Task, Workload
from trainables.training.engine import Engine
from trainables.workers.quiet_machine import UNLOCKED, QuietMachine

WORKLOAD = Workload(
    task=Task.SEGMENTATION,
    data=DataSpec(embedded=EmbeddedData(train=64, validation=8, test=4)),
    objective=ObjectiveSpec(metric="dice"),
)
CONFIG = TrialConfig(epochs=10_000, batch_size=16)


def train(folder: str, *, pausing: bool, ready: Any) -> None:
    """Take steps until the process is ended."""
    torch.set_num_threads(1)
    engine = Engine(WORKLOAD, prepare_workload(WORKLOAD), device="cpu")
    state = engine.start(CONFIG)
    machine = QuietMachine(Path(folder)) if pausing else UNLOCKED
    while True:
        with machine.busy():
            list(engine.advance([state], steps=1))
        ready.set()


def measure(times: int, beside: int, *, pausing: bool) -> tuple[list[float], float]:
    """The latencies, and the longest time of one measurement in seconds."""
    context = multiprocessing.get_context("spawn")
    engine = Engine(WORKLOAD, prepare_workload(WORKLOAD), device="cpu")
    state = engine.start(CONFIG)
    images = engine.data.splits[Split.VALIDATION]
    found, longest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        signals = [context.Event() for _ in range(beside)]
        others = [
            context.Process(target=train, args=(folder,), kwargs={"pausing": pausing, "ready": each})
            for each in signals
        ]
        for other in others:
            other.start()
        try:
            for each in signals:
                each.wait()
            machine = QuietMachine(Path(folder))
            for _ in range(times):
                began = time.monotonic()
                with machine.alone():
                    found.append(trial_latency(engine.task, images, state))
                longest = max(longest, time.monotonic() - began)
                time.sleep(0.1)
        finally:
            for other in others:
                other.terminate()
                other.join()
    return found, longest


def main() -> None:
    """Print a row for each situation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--beside", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, beside, pausing in (
        ("nothing beside it", 0, True),
        ("trials that pause", given.beside, True),
        ("trials that do not pause", given.beside, False),
    ):
        found, longest = measure(given.times, beside, pausing=pausing)
        tenths = quantiles(found, n=10)
        print(
            f"| {name} | {median(found):.2f} ms | {tenths[0]:.2f} to {tenths[-1]:.2f} ms | {longest:.1f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
