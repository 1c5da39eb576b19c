"""A sweep of recorded curves: workers, trials that report after each epoch, and a rule that is asked."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from benchmarks.stopping_rules.recorded import Task, configurations


class Answer(Enum):
    """What becomes of a trial after a report. RESTS: its worker takes another trial, and it may continue."""

    CONTINUES = "continues"
    STOPS = "stops"
    RESTS = "rests"


class Asked(Protocol):
    """A stopping rule as the simulation asks it. Losses: smaller is better."""

    def starts(self, number: int, configuration: int) -> None:
        """A trial starts with this configuration."""
        ...

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """A trial that has epochs left reports."""
        ...

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """A trial has reported after its last epoch, or a loss that is NaN."""
        ...

    def continues_next(self) -> int | None:
        """The resting trial that the next free worker is to continue; None if it is to start a new one."""
        ...


@dataclass
class Run:
    """What a simulated sweep found.

    reached: the epochs of all trials together until a report was as good as each share of the best.
    losses: the best loss that was reported within each number of epochs.  completed: configurations that ran
    all their epochs, within the largest number.  kept: how many late bloomers were started, and how many ran
    all their epochs.
    """

    reached: dict[float, int] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    completed: list[int] = field(default_factory=list)
    started: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Looked:
    """What a sweep is run for: shares of the best to reach, and numbers of epochs to look at it.

    most: the number of epochs after which a share counts as reached, so that a run ends.
    """

    shares: tuple[float, ...] = (0.01, 0.05)
    budgets: tuple[int, ...] = (250, 500, 1000)
    most: int = 30_000


def simulate(task: Task, rule: Asked, *, workers: int, seed: int, looked: Looked) -> Run:
    """Run a sweep. An epoch of a trial takes 0.8 to 1.25 units of time, the same for all rules."""
    curves, epochs = task.curves, task.losses.shape[1]
    drawn = configurations(len(curves), seed)
    run, used, best = Run(), 0, math.inf
    targets = {share: task.target(share) for share in looked.shares}
    due: list[tuple[float, int]] = []
    configuration: list[int] = []
    speed: list[float] = []
    done: list[int] = []

    def occupy(now: float) -> None:
        number = rule.continues_next()
        if number is None:
            number = len(configuration)
            configuration.append(next(drawn))
            speed.append(random.Random(f"{seed} {number}").uniform(0.8, 1.25))
            done.append(0)
            run.started.append(configuration[number])
            rule.starts(number, configuration[number])
        heapq.heappush(due, (now + speed[number], number))

    for _ in range(workers):
        occupy(0.0)
    last = max(looked.budgets, default=0)
    while used < looked.most and (used < last or len(run.reached) < len(targets)):
        now, number = heapq.heappop(due)
        loss = curves[configuration[number]][done[number]]
        done[number] += 1
        used += 1
        if loss < best:
            best = loss
            for share, target in targets.items():
                if best <= target:
                    run.reached.setdefault(share, used)
        if used in looked.budgets:
            run.losses[used] = best
        if math.isnan(loss) or done[number] == epochs:
            rule.ends(number, done[number], loss)
            if not math.isnan(loss) and used <= last:
                run.completed.append(configuration[number])
            occupy(now)
        elif rule.reports(number, done[number], loss) is Answer.CONTINUES:
            heapq.heappush(due, (now + speed[number], number))
        else:
            occupy(now)
    for share in targets:
        run.reached.setdefault(share, used)
    return run
