"""Processor time of one optimizer step and of one evaluation of a trial, this checkout against another one.

    python -m benchmarks.solo_step [--against DIR] [--rounds 7] [--steps 40] [--image-size 64]

Segmentation with the embedded ViT and detection with the embedded YOLOS, LoRA, one thread, batches of 8 and
of 2; the evaluation is what a report needs of 64 validation images. Each checkout is one process that stays
alive; the two take turns (A B B A ...), so a busy machine slows both alike. Processor time, because other
programs lengthen wall time more. It prints the median and the least of the
rounds, their ratios, and the load; on a busy machine the least says more.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("segmentation", "detection")
BATCHES = (8, 2)
IMAGES = 64
"""The number of validation images."""
WARM_UP = 5
"""Steps before the first measured one."""


@dataclass
class Checkout:
    """A checkout, the process that measures it, and the milliseconds of each case by round."""

    name: str
    process: subprocess.Popen[str]
    times: dict[str, list[float]] = field(default_factory=dict)

    def take_turn(self, *, keep: bool) -> None:
        """Let the process measure all cases once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("turn\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of the {self.name} checkout ended")
        for case, milliseconds in json.loads(line).items():
            if keep:
                self.times.setdefault(case, []).append(milliseconds)


@contextmanager
def opened(name: str, folder: Path, given: argparse.Namespace, cache: str) -> Iterator[Checkout]:
    """A checkout with its process, which ends with the context."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "ADAPTERTUNE_CACHE": cache,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    options = ["--steps", str(given.steps), "--image-size", str(given.image_size), "--tasks", *given.tasks]
    # -P: the measured packages are those of PYTHONPATH, also where this file is in another checkout.
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--measure", *options]
    with subprocess.Popen(
        command, cwd=cache, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Checkout(name, process)
        finally:
            process.kill()


def compare(given: argparse.Namespace) -> None:
    """Measure this checkout, and the other one if there is one, and print the results."""
    with tempfile.TemporaryDirectory() as cache, opened("this", ROOT, given, cache) as this:
        if given.against is None:
            _take_turns([this], given.rounds)
            return
        with opened("other", given.against.resolve(), given, cache) as other:
            _take_turns([this, other], given.rounds)


def _take_turns(checkouts: list[Checkout], rounds: int) -> None:
    loads = []
    for turn in range(rounds + 1):
        for checkout in checkouts if turn % 2 else checkouts[::-1]:
            checkout.take_turn(keep=turn > 0)  # the first round warms caches up
        loads.append(os.getloadavg()[0])
    both = len(checkouts) == 2
    names = "".join(f"{f'{c.name}, median':>16}{'least':>8}" for c in checkouts)
    print(f"{'processor time, ms':<28}{names}" + f"{'other/this':>14}{'of least':>10}" * both)
    for case in checkouts[0].times:
        found = [(statistics.median(c.times[case]), min(c.times[case])) for c in checkouts]
        line = f"{case:<28}" + "".join(f"{median:>16.2f}{least:>8.2f}" for median, least in found)
        if both:
            line += f"{found[1][0] / found[0][0]:>13.2f}×{found[1][1] / found[0][1]:>9.2f}×"
        print(line)
    print(f"{rounds} rounds, {os.cpu_count()} cores, one thread, load {min(loads):.1f} to {max(loads):.1f}")


# --- the process of a checkout ------------------------------------------------------------------


def measure(given: argparse.Namespace) -> None:
    """Measure all cases for each line of the standard input, and print them as a line of JSON."""
    import torch

    torch.set_num_threads(1)
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    cases = [trial_of(task, batch, given) for task in given.tasks for batch in BATCHES]
    for _ in sys.stdin:
        found: dict[str, float] = {}
        for name, engine, state in cases:
            found[f"{name}, step"] = _milliseconds(lambda e=engine, s=state: e.timed_step(s), given.steps)
        for name, engine, state in cases[:: len(BATCHES)]:
            task = name.partition(",")[0]
            found[f"{task}, evaluation"] = _milliseconds(
                lambda e=engine, s=state: e.validate(s.model, s.config), max(1, given.steps // 10)
            )
        print(json.dumps(found), file=answers, flush=True)


def trial_of(task: str, batch: int, given: argparse.Namespace) -> tuple[str, Any, Any]:
    """The name of a case, and its engine and trial after a few steps."""
    from trainables.preparation import prepare_workload
    from trainables.specs.trial import TrialConfig
    from trainables.specs.workload import Workload
    from trainables.training.engine import Engine

    side = given.image_size
    asked = {
        "task": task,
        "model": {"name": "embedded", "image_size": [side, side]},
        "data": {"embedded": {"domain": "inverted", "train": 256, "validation": IMAGES, "side": side}},
        "objective": {"metric": "dice" if task == "segmentation" else "map_50"},
    }
    settings = {
        "adapter": "lora", "batch_size": batch, "epochs": 1000, "learning_rate": 1e-3, "clip_norm": 1.0,
        "schedule": "cosine",
    }  # fmt: skip
    workload = Workload.model_validate_json(json.dumps(asked))
    engine = Engine(workload, prepare_workload(workload), device="cpu")
    state = engine.start(TrialConfig.model_validate_json(json.dumps(settings)))
    for _ in range(WARM_UP):
        engine.timed_step(state)
    return f"{task}, batch {batch}", engine, state


def _milliseconds(work: Any, times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        work()
    return 1000 * (time.process_time() - started) / times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="steps in a round")
    parser.add_argument("--image-size", type=int, default=64, help="the side of an image, in pixels")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given)
    else:
        compare(given)


if __name__ == "__main__":
    main()
