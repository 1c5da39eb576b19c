"""Processor time of a trial's optimizer step in a pack, against a trial alone in another checkout.

    python -m benchmarks.packed_step --against DIR [--lanes 1 2 4 8 16] [--rounds 15]

LoRA on queries and values, ranks and rates mixed, one thread, batches of 8 and of 2: segmentation with the
first two blocks of the embedded ViT at 32 pixels (the model of `make bench`) and with all of it at 64
pixels, and detection with the embedded YOLOS at 64 pixels. DIR: a checkout of the commit before packs
(`git worktree add DIR COMMIT`). Each checkout is one process that stays alive; the two take turns, so a busy
machine slows both alike. Prints the least of the rounds for one trial's step, in milliseconds, the ratio,
and the load.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.task16 import FOLDER, backbone, save_backbone

ROOT = Path(__file__).resolve().parents[1]
BATCHES = (8, 2)
CASES = {"ViT, 2 blocks, 32 px": ("segmentation", 32), "ViT, 64 px": ("segmentation", 64)} | {
    "YOLOS, 64 px": ("detection", 64)
}
ALONE = "alone"


def compare(given: argparse.Namespace) -> None:
    """Let both checkouts measure in turns, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        save_backbone(Path(folder))
        names = {"this": ROOT, "other": given.against.resolve()}
        processes = {name: _process(name, where, folder, given) for name, where in names.items()}
        times: dict[tuple[str, str], list[float]] = {}
        loads = []
        try:
            for turn in range(given.rounds + 1):
                for name, process in processes.items():
                    for case, value in _turn(process).items():
                        if turn:  # the first round warms caches up
                            times.setdefault((name, case), []).append(value)
                loads.append(os.getloadavg()[0])
        finally:
            for process in processes.values():
                process.kill()
    print(
        f"{'one step of one trial, ms':<34}{'before':>9}{'alone':>9}{'':>8}"
        + "".join(f"{f'{lanes} lanes':>17}" for lanes in given.lanes)
    )
    for case, batch in itertools.product(CASES, BATCHES):
        before = min(times["other", f"{case}|{batch}|{ALONE}"])
        row = f"{case + f', batch {batch}':<34}{before:>9.2f}"
        for lanes in (ALONE, *given.lanes):
            now = min(times["this", f"{case}|{batch}|{lanes}"])
            row += f"{now:>9.2f}{before / now:>7.2f}×"
        print(row)
    load = f"load {min(loads):.1f} to {max(loads):.1f}"
    print(f"{given.rounds} rounds, {os.cpu_count()} cores, one thread, {load}")


def _process(name: str, where: Path, folder: str, given: argparse.Namespace) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": str(where),
        "ADAPTERTUNE_CACHE": f"{folder}/cache",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    lanes = [str(lanes) for lanes in given.lanes] if name == "this" else []
    # -P: the measured packages are those of PYTHONPATH, also where this file is in another checkout.
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--measure", "--lanes", *lanes]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _turn(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("turn\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a measuring process ended")
    found: dict[str, float] = json.loads(line)
    return found


# --- the process of a checkout ------------------------------------------------------------------


def measure(lanes: list[int]) -> None:
    """Measure all cases for each line of the standard input, and print them as a line of JSON."""
    import torch

    torch.set_num_threads(1)
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    work = [each for case, batch in itertools.product(CASES, BATCHES) for each in _steps(case, batch, lanes)]
    for _ in sys.stdin:
        found = {}
        for name, trials, step in work:
            started, taken = time.process_time(), 0
            while time.process_time() - started < 0.1:
                step()
                taken += 1
            found[name] = 1000 * (time.process_time() - started) / taken / trials
        print(json.dumps(found), file=answers, flush=True)


def _steps(case: str, batch: int, lanes: list[int]) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """(name, number of trials, a function that takes a step of all of them)."""
    from trainables.preparation import prepare_workload
    from trainables.specs.trial import TrialConfig
    from trainables.specs.workload import Workload
    from trainables.training.engine import Engine

    task, side = CASES[case]
    asked = {
        "task": task,
        "model": {"name": str(backbone()) if side == 32 else "embedded", "image_size": [side, side]},
        "data": {"embedded": {"domain": "inverted", "train": 320, "validation": 8, "side": side}},
        "objective": {"metric": "dice" if task == "segmentation" else "map_50"},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    engine = Engine(workload, prepare_workload(workload), device="cpu")
    mixed = itertools.cycle(itertools.product((2, 4, 8, 16), (1e-3, 2e-3, 4e-3, 8e-3)))

    def started(count: int) -> list[Any]:
        configs = [
            {
                "adapter": "lora", "lora": {"rank": rank, "alpha": 2.0 * rank}, "learning_rate": rate,
                "batch_size": batch, "epochs": 10_000,
            }
            for rank, rate in itertools.islice(mixed, count)
        ]  # fmt: skip
        return [engine.start(TrialConfig.model_validate_json(json.dumps(config))) for config in configs]

    (single,) = started(1)
    for _ in range(5):
        engine.timed_step(single)
    yield f"{case}|{batch}|{ALONE}", 1, lambda: engine.timed_step(single)
    if lanes:
        from trainables.packing.pack import PackEngine

        for count in lanes:
            pack, states = PackEngine(engine), started(count)

            def step(pack: Any = pack, states: Any = states) -> None:
                pack.timed_step(states)

            for _ in range(3):
                step()
            yield f"{case}|{batch}|{count}", count, step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="a checkout of the commit before packs")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 2, 4, 8, 16], help="trials in a pack")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.lanes)
    elif given.against is None:
        parser.error("--against DIR is needed: what trials alone took before")
    else:
        compare(given)


if __name__ == "__main__":
    main()
