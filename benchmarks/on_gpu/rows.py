"""The rows of a table of the GPU benchmark: each is set up and timed in turns, and may fail alone."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Step = Callable[[int], int]
"""Takes that many steps of each of its trials; returns the number of trial-steps taken."""


@dataclass
class Row:
    """A way to train the trials.

    make: sets it up.  trials: how many share a step or the device.  needs_s: a guess of the set-up's time.
    peer: whether ours are compared with it.  compiles: takes so long to set up that others are timed before.
    elsewhere: whether it uses the memory of other processes.
    """

    name: str
    make: Callable[[], Step]
    trials: int = 1
    needs_s: float = 5.0
    peer: bool = False
    compiles: bool = False
    elsewhere: bool = False
    step: Step | None = None
    setup_s: float | None = None
    peak_mb: float | None = None
    """Peak device memory in this process of its set-up and first steps, above what was allocated before."""
    graphs: str = ""
    """What `torch.compile` made of it."""
    steps: int = 1
    ms: list[float] = field(default_factory=list)
    """Milliseconds a trial-step, by turn."""
    why: str | None = None
    """Why there is no time."""

    @property
    def median(self) -> float | None:
        """Milliseconds a trial-step."""
        return statistics.median(self.ms) if self.ms else None

    def as_json(self, reference: float | None) -> dict[str, Any]:
        """The row for the file of results. reference: milliseconds that its ratio is to."""
        median = self.median
        return {
            "name": self.name,
            "peer": self.peer,
            "trials_at_once": self.trials,
            "ms_a_trial_step": median,
            "turns": [round(ms, 4) for ms in self.ms],
            "times_eager": reference / median if reference and median else None,
            "setup_s": self.setup_s,
            "peak_mb": self.peak_mb,
            "mb_a_slot": None if self.peak_mb is None else self.peak_mb / self.trials,
            "compiled": self.graphs,
            "why_not": self.why,
        }


class Clock:
    """Times rows on one device, until a limit."""

    def __init__(self, device: torch.device, limit_s: float, turn_s: float) -> None:
        self._device = device
        self._until = time.monotonic() + limit_s
        self.turn_s = turn_s
        self._started = time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds until the limit."""
        return self._until - time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the start and the machine's load."""
        print(
            f"[{time.monotonic() - self._started:5.0f} s, load {os.getloadavg()[0]:4.1f}] {text}", flush=True
        )

    def wait(self) -> None:
        """Wait for the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def set_up(self, row: Row, reserve_s: float) -> None:
        """Make a row and take its first steps, if time allows; a failure is the row's own."""
        if self.left_s - reserve_s < row.needs_s:
            row.why = "not run: no time left"
            self.say(f"{row.name}: {row.why}")
            return
        gc.collect()
        cuda = self._device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device) if cuda else 0
        started = time.perf_counter()
        try:
            counted = _compiler_counts()
            row.step = row.make()
            row.step(1)
            self.wait()
            first = time.perf_counter()
            row.step(4)
            self.wait()
            once = (time.perf_counter() - first) / 4
            row.setup_s = first - started
            row.steps = max(2, min(400, round(self.turn_s / max(once, 1e-6))))
            if cuda and not row.elsewhere:
                row.peak_mb = (torch.cuda.max_memory_allocated(self._device) - before) / 2**20
        except Exception as error:
            self._failed(row, error)
            return
        if row.compiles:
            graphs, breaks = (now - old for now, old in zip(_compiler_counts(), counted, strict=True))
            row.graphs = f"{graphs} graphs, {breaks} graph breaks"
        each = 1000 * once / row.trials
        self.say(f"{row.name}: set up in {row.setup_s:.1f} s, {each:.2f} ms a trial-step {row.graphs}")

    def turn(self, row: Row) -> None:
        """Time a row once."""
        if row.step is None:
            return
        try:
            self.wait()
            started = time.perf_counter()
            taken = row.step(row.steps)
            self.wait()
            row.ms.append(1000 * (time.perf_counter() - started) / taken)
        except Exception as error:
            self._failed(row, error)

    def _failed(self, row: Row, error: Exception) -> None:
        row.step = None
        lines = str(error).strip().splitlines() or [""]
        row.why = f"failed: {type(error).__name__}: {lines[0][:300]}"
        self.say(f"{row.name}: {row.why}")


def _compiler_counts() -> tuple[int, int]:
    """How many graphs `torch.compile` has made, and how often it stopped in the middle of a function."""
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def table(rows: list[Row], reference: float | None) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| what | trials at once | ms a trial-step | range | × eager | peak MB | MB a slot | set up, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        median = row.median
        if median is None:
            lines.append(f"| {row.name} | {row.trials} | {row.why or 'not timed'} | | | | | |")
            continue
        ratio = f"{reference / median:.2f}" if reference else ""
        memory = (
            ("", "") if row.peak_mb is None else (f"{row.peak_mb:.0f}", f"{row.peak_mb / row.trials:.0f}")
        )
        lines.append(
            f"| {row.name} | {row.trials} | {median:.2f} | {min(row.ms):.2f} to {max(row.ms):.2f} | {ratio} "
            f"| {memory[0]} | {memory[1]} | {row.setup_s:.1f} |"
        )
    return "\n".join(lines)
