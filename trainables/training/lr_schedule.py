"""Learning-rate schedules: pure functions of the step, and plateau, which depends on the metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from trainables.specs.trial import Schedule, TrialConfig
from trainables.specs.workload import Direction


def rate_factor(config: TrialConfig, *, step: int, total_steps: int) -> float:
    """The factor of the base rate in optimizer step `step` (0-based) of `total_steps`.

    cosine: linear warmup over `warmup`, then half a cosine to 0.  warmup_flat_decay: warmup, the
    full rate for `flat` of the steps, then linearly to 0 (study B).  cosine_restarts: from 1 along half
    a cosine to 0 over `restart_epochs`, then again over `restart_factor` times as long, and so on, without
    warmup (SGDR, Loshchilov & Hutter 2017).  plateau: 1 here, see `Plateau`.
    """
    done = step / max(1, total_steps)
    match config.schedule:
        case Schedule.CONSTANT | Schedule.PLATEAU:
            return 1.0
        case Schedule.COSINE:
            if done < config.warmup:
                return _rising(step, config.warmup * total_steps)
            left = (done - config.warmup) / max(1e-12, 1.0 - config.warmup)
            return 0.5 + 0.5 * math.cos(math.pi * left)
        case Schedule.COSINE_RESTARTS:
            return 0.5 + 0.5 * math.cos(math.pi * _in_period(config, step, total_steps))
        case Schedule.WARMUP_FLAT_DECAY:
            if done < config.warmup:
                return _rising(step, config.warmup * total_steps)
            flat_until = config.warmup + config.flat
            if done < flat_until:
                return 1.0
            return (1.0 - done) / max(1e-12, 1.0 - flat_until)
        case _:
            assert_never(config.schedule)


def _rising(step: int, warmup_steps: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup_steps))


def _in_period(config: TrialConfig, step: int, total_steps: int) -> float:
    """Which share of its period between two restarts has passed at `step`."""
    # Every epoch has the same number of steps. Counted in steps, so that a restart falls on one exactly.
    period = config.restart_epochs * (total_steps // max(1, config.epochs))
    while 0 < period <= step:
        step -= period
        period *= config.restart_factor
    return step / max(1, period)


@dataclass(frozen=True)
class Plateau:
    """Reduces the rate when the metric has not improved, in its direction, for `patience` reports."""

    best: float
    stale: int = 0
    factor: float = 1.0

    @classmethod
    def start(cls, direction: Direction) -> Plateau:
        """The state before the first report."""
        return cls(best=direction.worst)

    def without_best(self, direction: Direction) -> Plateau:
        """The same rate, with the next report as the first one."""
        return Plateau(best=direction.worst, factor=self.factor)

    def after(self, value: float, config: TrialConfig, direction: Direction) -> Plateau:
        """The state after a report of `value`."""
        if direction.better(value, self.best):
            return Plateau(best=value, stale=0, factor=self.factor)
        if self.stale + 1 >= config.plateau_patience:
            return Plateau(best=self.best, stale=0, factor=self.factor * config.plateau_factor)
        return Plateau(best=self.best, stale=self.stale + 1, factor=self.factor)
