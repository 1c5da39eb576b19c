"""The best value of each adapter and freezing mode, next to the pretrained baseline."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.query.floors import COLLAPSED, Part, collapsed_caption
from analysis.query.sweep import Objective, Standing, Sweep, Trial
from analysis.ranking.best import rank
from analysis.tables import Table, format_count, format_metric
from trainables.metrics.above_floor import better_than_baseline
from trainables.specs.workload import ValueRule
from trainables.wording import counts_in_words
from tuning.ledger.trial_values import PARTS

PRETRAINED = "pretrained baseline"


@dataclass(frozen=True)
class Group:
    """The trials of one adapter under one freezing mode."""

    adapter: str
    freezing: str
    trials: tuple[Trial, ...]
    best: tuple[Trial, Standing] | None
    """The best trial that ran to its own end; None if none has."""
    median: float | None
    """The median value at the epoch that all trials of the sweep reached."""
    collapsed: int = 0
    """How many of the trials have a value that is no better than a constant predictor's."""

    @property
    def endings(self) -> str:
        """How the trials ended, as `2 completed, 1 pruned`, and how many have collapsed."""
        said = counts_in_words(dict(sorted(Counter(trial.shown for trial in self.trials).items())))
        return f"{said}; {self.collapsed} {COLLAPSED}" if self.collapsed else said


def common_epoch(trials: Sequence[Trial]) -> float | None:
    """The largest budget that was reached by every trial that finished or that the scheduler stopped."""
    reached = [t.ran for t in trials if t.reports and (t.finished or t.outcome == "pruned")]
    return min(reached, default=None)


def groups(sweep: Sweep) -> tuple[Group, ...]:
    """The groups in the order of their best trials; groups without one come last."""
    members: dict[tuple[str, str], list[Trial]] = {}
    for trial in sweep.trials:
        members.setdefault((trial.adapter, trial.freezing), []).append(trial)
    best: dict[tuple[str, str], tuple[Trial, Standing]] = {}
    for trial, standing in rank(sweep).ranked:
        best.setdefault((trial.adapter, trial.freezing), (trial, standing))
    epoch = common_epoch(sweep.trials)
    return tuple(
        Group(
            *key,
            tuple(members[key]),
            best.get(key),
            _median(members[key], sweep.objective, epoch),
            _collapsed(members[key], sweep.objective),
        )
        for key in dict.fromkeys([*best, *members])
    )


def _collapsed(trials: Sequence[Trial], objective: Objective) -> int:
    standings = (trial.standing(objective) for trial in trials if trial.comparable)
    return sum(bool(standing and standing.collapsed) for standing in standings)


def _median(trials: Sequence[Trial], objective: Objective, epoch: float | None) -> float | None:
    equal = [
        standing.value
        for trial in trials
        if trial.comparable and epoch and (standing := trial.standing_at(objective, epoch)) is not None
    ]
    return statistics.median(equal) if equal else None


def adapter_table(sweep: Sweep) -> Table:
    """One row for each adapter and freezing mode: trials, best, median at an equal budget, parameters.

    The median is taken at the largest epoch that all trials reached, so that early stopping does not
    change it. The best is that of trials that ran to their own end, under the experiment's rule.
    """
    metric, sign = sweep.objective.metric, sweep.objective.direction.sign
    grouped = groups(sweep)
    lines = [(sign * g.best[1].value if g.best else float("inf"), _row(g)) for g in grouped]
    if (before := sweep.baseline.get(metric)) is not None:
        baseline = (PRETRAINED, "", "", format_metric(before), "", "", "0", "0", "0", "not trained")
        lines.append((sign * before, baseline))
        lines.sort(key=lambda line: line[0])
    epoch = common_epoch(sweep.trials)
    median = f"median at epoch {epoch:g}" if epoch else "median"
    rule = "the best report" if sweep.objective.rule is ValueRule.BEST else "the last report"
    worth = [sweep.floors.caption(metric, Part.VALIDATION)]
    worth += [collapsed_caption(metric)] if any(g.collapsed for g in grouped) else []
    return Table(
        f"{sweep.name}: by adapter and freezing",
        ("adapter", "freezing", "trials", f"best {metric}", "at epoch", median,
         "trains: adapter", "head", "backbone", "endings"),
        tuple(row for _, row in lines),
        f"{metric} on validation images. best: {rule} of trials that ran to their own end;"
        " median: all trials at the same budget."
        " trains: the best trial's parameters that train"
        + "".join(f". {said}" for said in worth if said),
        numeric=(2, 3, 4, 5, 6, 7, 8),
    )  # fmt: skip


def _row(group: Group) -> tuple[str, ...]:
    trial, standing = group.best or (group.trials[0], None)
    return (
        group.adapter,
        group.freezing,
        str(len(group.trials)),
        format_metric(standing.value if standing else None),
        f"{standing.epoch:g}" if standing else "–",
        format_metric(group.median),
        *(format_count(trial.parameters.get(part)) for part in PARTS),
        group.endings,
    )


def against_baseline(sweep: Sweep, best: float) -> str:
    """A sentence that compares the best value with the baseline; empty if that was not measured."""
    metric = sweep.objective.metric
    before = sweep.baseline.get(metric)
    if before is None:
        return ""
    floor = sweep.floors.at(metric)
    better = (
        sweep.objective.direction.better(best, before)
        if floor is None
        else better_than_baseline(best, floor, before)
    )
    values = f"{metric} {format_metric(before)} before, {format_metric(best)} after"
    if floor is not None:
        values += f", where a constant predictor reaches {format_metric(floor)}"
    return f"{'better' if better else 'no better'} than the pretrained baseline: {values}"
