"""Processes that share the device, each training a trial of a peer alone.

`python -m benchmarks.on_gpu.processes FOLDER SIZES DEVICE THREADS` takes a number of steps for each line that
it reads, and answers with a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu.models import Sizes
from benchmarks.on_gpu.peers import PlainSegmenter, PlainTrial, plain_detector

ROOT = Path(__file__).resolve().parents[2]


class Processes:
    """Processes on one device that take their steps at the same time."""

    def __init__(self, count: int, folder: Path, sizes: Sizes, device: torch.device) -> None:
        threads = 1 if device.type == "cpu" else max(1, (os.cpu_count() or 1) // count)
        given = [str(folder), json.dumps(asdict(sizes)), str(device), str(threads)]
        self._running = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.on_gpu.processes", *given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for _ in range(count)
        ]

    def wait(self) -> None:
        """Wait until all have taken their first step."""
        for process in self._running:
            self._answer(process)

    def step(self, times: int) -> int:
        """Take `times` steps in each process; returns the number of all."""
        for process in self._running:
            assert process.stdin is not None
            process.stdin.write(f"{times}\n")
            process.stdin.flush()
        for process in self._running:
            self._answer(process)
        return times * len(self._running)

    def close(self) -> None:
        """End the processes."""
        for process in self._running:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._running:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"a process that shares the device ended with exit code {process.wait()}")


def main() -> None:
    """Answer lines until there are none."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder, sizes_json, name, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    given: dict[str, Any] = json.loads(sizes_json)
    sizes = Sizes(**{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()})
    device = torch.device(name)
    model = plain_detector(Path(folder)) if sizes.queries else PlainSegmenter(Path(folder), sizes)
    trial = PlainTrial(model, sizes, device)
    trial.step()
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            trial.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        print("done", flush=True)


if __name__ == "__main__":
    main()
