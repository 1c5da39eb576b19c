"""Recorded learning curves as tasks, and what a rule looks for in them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

TASKSET = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "curves" / "taskset.npz"


@dataclass(frozen=True)
class Task:
    """losses: (configurations, epochs), smaller is better, NaN from the epoch at which training diverged.

    slow: configurations that report a bad loss at first; `groups` says so of every configuration.
    """

    name: str
    losses: Losses
    final: NDArray[np.float64]
    """The losses at the end, as recorded; infinite where training diverged."""
    slow: frozenset[int] = frozenset()

    @property
    def curves(self) -> list[list[float]]:
        """The losses as lists, which the simulation reads faster."""
        found: list[list[float]] = self.losses.tolist()
        return found

    def target(self, share: float) -> float:
        """The loss that this share of all configurations reaches at the end."""
        return float(np.quantile(self.final, share, method="lower"))

    def late_bloomers(self) -> frozenset[int]:
        """Configurations of the best 5 % at the end that are in the worse half after the first epoch."""
        first = np.where(np.isnan(self.losses[:, 0]), np.inf, self.losses[:, 0])
        late = (self.final <= self.target(0.05)) & (first > np.median(first))
        return frozenset(np.flatnonzero(late).tolist())

    def regret(self, loss: float) -> float:
        """How far a loss is from the best one: 0 there, 1 at the median configuration and above."""
        best, median = float(self.final.min()), float(np.median(self.final))
        return min(1.0, max(0.0, (loss - best) / (median - best)))


def load_tasks(path: Path = TASKSET) -> list[Task]:
    """The recorded tasks. Raises FileNotFoundError without the file."""
    with np.load(path) as held:
        names = [name[:-2] for name in held.files if name.endswith("|Y")]
        return [task_of(name, held[f"{name}|Y"][:, 1:]) for name in names]


def task_of(name: str, losses: Losses) -> Task:
    """A task of recorded losses, without the column before training."""
    losses = losses.astype(np.float64)
    return Task(name, losses, np.where(np.isnan(losses[:, -1]), np.inf, losses[:, -1]))


def tied(task: Task, *, diverged: bool = False) -> Task:
    """The task as a metric with a floor reports it, such as an average precision of 0.0.

    A loss that is no better than that of the median configuration at the end is reported as that one: at the
    end half of the configurations are equal, and more of them at first. diverged: so are diverged ones, which
    do not end then.
    """
    floor = float(np.median(task.final))
    losses = np.where(task.losses >= floor, floor, task.losses)
    return Task(task.name, np.where(np.isnan(losses), floor, losses) if diverged else losses, task.final)


def with_slow_half(task: Task, *, epochs: int, seed: int = 0) -> Task:
    """The task with half of its configurations, at random, worse than all others for the first epochs.

    So are trials with a frozen backbone beside trials that train it.
    """
    losses = task.losses.copy()
    slow = np.random.default_rng(seed).permutation(len(losses))[: len(losses) // 2]
    losses[slow, :epochs] += np.nanmax(task.losses[:, :epochs])
    return Task(task.name, losses, task.final, frozenset(slow.tolist()))


def configurations(count: int, seed: int) -> Iterator[int]:
    """The configurations in random order, and again in another one when all have been drawn."""
    draw = random.Random(seed)
    while True:
        order = list(range(count))
        draw.shuffle(order)
        yield from order
