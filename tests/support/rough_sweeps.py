"""The ledgers of sweeps in which everything happens that a stopping rule may meet."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, Record, ReportRecord, StartedRecord, StoppedRecord
from tuning.scheduling.rule import ObservingRule, Rest, RestingRule, Stop, StoppingRule

Curve = Sequence[tuple[float, float]]
"""(epoch, objective) of each report; the last one is a trial's last, unless it is not finite."""


def memory_of(number: int) -> float:
    """The peak memory of a trial, in MB: one of three values."""
    return 100.0 + number * 7 % 3


def rough_curves(seed: int, *, epochs: float, trials: int = 60) -> list[Curve]:
    """Curves with equal values, plateaus, reports that skip rungs, and trials that diverge or end early."""
    draw = random.Random(seed)
    curves: list[Curve] = []
    for _ in range(trials):
        height, step = draw.uniform(0.1, 0.9), draw.choice([0.5, 1.0, 1.0, 1.0, 2.5, 4.0])
        plateau = draw.choice([0.0, 0.0, 2.0, 4.0])  # nothing is learned before
        end = draw.choice([epochs, epochs, epochs, epochs / 2])
        reports, epoch = [], 0.0
        while epoch < end:
            epoch = min(end, epoch + step)
            value = height * (1 - 0.6 ** max(0.0, epoch - plateau)) + draw.uniform(0, 0.05)
            reports.append((epoch, 0.0 if epoch <= plateau else round(value, draw.choice([1, 1, 6]))))
        if draw.random() < 0.1:
            at = draw.randrange(len(reports))
            bad = draw.choice([math.nan, math.inf, -math.inf])
            reports = [*reports[:at], (reports[at][0], bad)]
        curves.append(reports)
    return curves


def sweep_of(rule: StoppingRule, curves: Sequence[Curve], *, epochs: float, workers: int) -> list[Record]:
    """The ledger of trials that report these curves, in random order; a diverged one has a null there."""
    draw = random.Random(workers)
    waiting, records = list(range(len(curves))), list[Record]()
    running, rested = dict[int, int](), dict[int, int]()
    while True:
        while len(running) < workers and (free := _next(rule, waiting)) is not None:
            running[free] = rested.pop(free, 0)
            records.append(StartedRecord(trial=free, params={}, hash=f"h{free}"))
        if not running:
            return records
        number = draw.choice(sorted(running))
        epoch, objective = curves[number][running[number]]
        running[number] += 1
        outcome = _reported(
            rule, records, number, epoch, objective, last=curves[number][-1][0], epochs=epochs
        )
        if outcome is not None:
            value = objective if math.isfinite(objective) else None
            records.append(EndedRecord(trial=number, outcome=outcome, value=value, epoch=epoch))
            reports = running.pop(number)
            if outcome is Outcome.RESTING:
                rested[number] = reports


def _next(rule: StoppingRule, waiting: list[int]) -> int | None:
    """The trial that a free worker runs: one that rested, or a new one."""
    able = None
    for none_left in (False,) if waiting else (False, True):
        if isinstance(rule, RestingRule) and able is None:
            able = rule.next_rested(none_left=none_left)
    if able is None:
        return waiting.pop(0) if waiting else None
    assert isinstance(rule, RestingRule)
    rule.wake(able.number)
    return able.number


def _reported(
    rule: StoppingRule,
    records: list[Record],
    number: int,
    epoch: float,
    objective: float,
    *,
    last: float,
    epochs: float,
) -> Outcome | None:
    """Record a report and what the rule decides; returns how the trial ends, None if it continues."""
    ends = None if epoch < last else Outcome.COMPLETED if epoch >= epochs else Outcome.EARLY_STOPPED
    finite = math.isfinite(objective)
    record = ReportRecord(
        trial=number,
        epoch=epoch,
        step=round(epoch * 10),
        objective=objective if finite else None,
        peak_mb=memory_of(number),
        outcome=ends.value if ends is not None and finite else None,  # type: ignore[arg-type]
    )
    records.append(record)
    if not finite:
        return Outcome.DIVERGED
    if isinstance(rule, ObservingRule):
        rule.observe(record)
    if ends is not None:
        rule.finish(number, epoch, objective)
        return ends
    decision = rule.decide(number, epoch, objective)
    if decision == Stop():
        records.append(StoppedRecord(trial=number, by=rule.by, epoch=epoch))
        return Outcome.PRUNED
    return Outcome.RESTING if decision == Rest() else None
