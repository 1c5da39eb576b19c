"""One comparison of the GPU benchmark: its rows, their turns, and what they say of the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.on_gpu.rows import Clock, Row, table

PACKED = "packed"
"""How the names of our packs begin."""


@dataclass(frozen=True)
class Options:
    """How the benchmark runs.

    turns: how often each row is timed.  limit_s: of one section.  processes: that share the device.
    compiled: whether to measure what takes long to compile.
    """

    device: torch.device
    small: bool = False
    turns: int = 5
    limit_s: float = 240.0
    processes: int = 4
    compiled: bool = True

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of NVIDIA."""
        return self.device.type == "cuda"

    @property
    def backend(self) -> str:
        """What `torch.compile` uses: for small models on a CPU, nothing that takes long."""
        return "eager" if self.small else "inductor"


@dataclass
class Section:
    """A comparison: its rows, and what it says of them.

    targets: (text, ratio wanted, the rows that it is to).
    """

    name: str
    rows: list[Row]
    eager: str
    targets: list[tuple[str, float, list[str]]]
    parity: list[str] = field(default_factory=list)

    def median(self, name: str) -> float | None:
        """A row's time."""
        return next((row.median for row in self.rows if row.name == name), None)

    @property
    def best(self) -> Row | None:
        """The fastest of our packs."""
        timed = [row for row in self.rows if row.name.startswith(PACKED) and row.median is not None]
        return min(timed, key=lambda row: row.median or 0.0, default=None)

    def verdicts(self) -> Iterator[str]:
        """Each target with what was reached."""
        best = self.best
        for text, wanted, names in self.targets:
            others = [ms for name in names if (ms := self.median(name)) is not None]
            if best is None or best.median is None or not others:
                yield f"{text}: wanted {wanted:.1f}×, not measured"
            else:
                ratio = min(others) / best.median
                verdict = "reached" if ratio >= wanted else "MISSED"
                yield f"{text}: wanted {wanted:.1f}×, found {ratio:.2f}×, {verdict} (ours: {best.name})"

    def as_json(self) -> dict[str, Any]:
        """All of it, for the file of results."""
        reference = self.median(self.eager)
        rows = [row.as_json(reference) for row in self.rows]
        return {"parity": self.parity, "rows": rows, "targets": list(self.verdicts())}

    def __str__(self) -> str:
        return "\n".join(
            [f"\n### {self.name}", *self.parity, table(self.rows, self.median(self.eager)), *self.verdicts()]
        )


Report = Callable[[Section], None]
"""Keeps what a section has found so far."""


def measure(section: Section, clock: Clock, options: Options, report: Report) -> None:
    """Set the rows up, time them in turns, and report after each.

    Those that compile come after a first turn of the others, which stays if the compiler takes too long.
    """
    turn_s = len(section.rows) * clock.turn_s * 1.3
    for number in range(options.turns):
        for row in section.rows:
            if row.step is None and row.why is None and row.compiles <= (number > 0 or options.turns == 1):
                clock.set_up(row, turn_s * (options.turns - number))
                report(section)
        if clock.left_s < turn_s and number:
            clock.say(f"{number} turns instead of {options.turns}: no time left")
            print(section, flush=True)
            break
        # Every other turn backwards, so that what a row leaves behind does not always meet the same one.
        for row in section.rows if number % 2 == 0 else section.rows[::-1]:
            clock.turn(row)
        report(section)
        clock.say(f"turn {number + 1} of {options.turns}")
        if number in (0, options.turns - 1):
            print(section, flush=True)
