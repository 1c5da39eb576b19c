"""Sections on the training of trials: learning curves, failures and costs."""

from __future__ import annotations

import math
from collections import Counter

from analysis.query.sweep import Trial
from analysis.report.document import Absent, Block, FactList, Figure, Section, Text
from analysis.report.inputs import Material, sample_trials
from analysis.report.plots import Curve, Curves
from analysis.report.setup import rungs_of
from analysis.report.times import format_time
from analysis.tables import Table, percent
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.wording import plural
from tuning.experiment.spec import Experiment
from tuning.formatting import duration

CURVES = 150
POINTS = 60
"""Maximum number of points of a curve, if there are many curves."""
REASONS = 20
MOST_LETTERS = 300


def curves_section(m: Material) -> Section:
    """Learning curves on validation images, with the rungs of early stopping."""
    title = "Learning curves"
    chosen = sample_trials(m.drawable, CURVES)
    if not chosen:
        return Section("curves", title, (Absent("No trial has reported a valid value yet."),))
    best = m.best[0].number if m.best is not None else None
    many = len(chosen) > 30
    drawn = tuple(
        Curve(
            t.number,
            t.adapter,
            t.freezing in TRAINS_BACKBONE,
            _fewer(_points(m, t)) if many else _points(m, t),
        )
        for t in sorted(chosen, key=lambda t: (t.number == best, t.number))
    )
    rungs = rungs_of(m.sweep.experiment)
    total = len(m.drawable)
    caption = curves_caption(m.sweep.experiment)
    if total > len(chosen):
        caption += (
            f". {len(chosen)} of {plural(total, 'trial')}: the best {CURVES // 2} and an even sample of"
            " the others"
        )
    text = f"Learning curves of {plural(len(drawn), 'trial')}: {m.metric} on validation images by epoch"
    if m.best is not None:
        text += f"; trial {best} is best with {m.rounded(m.best[1].value)} at epoch {m.best[1].epoch:g}"
    figure = Figure(
        "curves",
        "Learning curves",
        text,
        f"{caption}{m.worth()}.",
        Curves(
            m.metric,
            drawn,
            best,
            (m.best[1].epoch, m.best[1].value) if m.best is not None else None,
            rungs,
            m.sweep.baseline.get(m.metric),
            m.sweep.floors.at(m.metric),
        ),
    )
    return Section("curves", title, (figure,))


def curves_caption(experiment: Experiment) -> str:
    """What learning curves show, and how early stopping ended them; without a full stop."""
    metric, scheduler = experiment.workload.objective.metric, experiment.scheduler
    caption = f"{metric} on validation images at each report; a curve that ends early was stopped early"
    name = {"asha": "ASHA", "hyperband": "Hyperband", "pasha": "PASHA"}.get(scheduler.rule or "")
    halving = scheduler.asha or scheduler.hyperband or scheduler.pasha
    if (smaller := experiment.workload.smaller) is not None:
        caption += f"; up to epoch {smaller.full_after} on smaller images, whose values are not final ones"
    if halving is not None:
        caption += f". Dotted lines: {name}'s rungs, at which one in {halving.reduction_factor:g} continues"
    elif scheduler.dominance is not None:
        caption += ". Dotted lines: rungs, at which trials stop that too many others dominate"
    elif scheduler.pbt is not None:
        caption += ". A trial that was replaced ends, and the one in its place begins there"
    elif scheduler.median is not None:
        caption += ". Trials worse than the median of the others were stopped"
    return caption


def _points(m: Material, trial: Trial) -> tuple[tuple[float, float], ...]:
    return tuple((r.epoch, v) for r in trial.reports if (v := r.metrics.get(m.metric)) is not None)


def _fewer(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if len(points) <= POINTS:
        return points
    return (*(points[math.floor(i * len(points) / (POINTS - 1))] for i in range(POINTS - 1)), points[-1])


# --- failures ---------------------------------------------------------------------------------


def failures_section(m: Material) -> Section:
    """The reasons why trials have no value."""
    title = "Failures"
    lost = [trial for trial in m.sweep.trials if trial.outcome in ("failed", "diverged")]
    if not lost and not m.sweep.unscored:
        text = (
            "No trial failed or diverged." if m.sweep.trials else "No trial has started, so none has failed."
        )
        return Section("failures", title, (Text(text),))
    held: list[Block] = []
    if lost:
        trials = plural(len(m.sweep.trials), "trial")
        held.append(Text(f"{len(lost)} of {trials} failed or diverged; they are not ranked."))
        groups: dict[tuple[str, str], list[int]] = {}
        for trial in lost:
            reason = (trial.reason or "no reason recorded")[:MOST_LETTERS]
            groups.setdefault((trial.outcome, reason), []).append(trial.number)
        order = sorted(groups.items(), key=lambda item: (-len(item[1]), item[1][0]))
        rows = tuple((outcome, str(len(n)), _numbers(n), reason) for (outcome, reason), n in order[:REASONS])
        left = f"{plural(len(order) - REASONS, 'more reason')} in the ledger" if len(order) > REASONS else ""
        held.append(Table("Reasons", ("outcome", "trials", "numbers", "reason"), rows, left, numeric=(1,)))
        name = m.folder.name
        held.append(Text(f"`adaptertune logs {name}:{lost[0].number}` shows the output of a trial."))
    if m.sweep.unscored:
        items = list(m.sweep.unscored.items())
        shown = tuple(
            ("pretrained baseline" if number is None else f"trial {number}", why[:MOST_LETTERS])
            for number, why in items[:REASONS]
        )
        held.append(Table("Not scored on test images", ("model", "reason"), shown))
    return Section("failures", title, tuple(held))


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


# --- cost -------------------------------------------------------------------------------------


def cost_section(m: Material) -> Section:
    """Time, memory, epochs, and what early stopping saved."""
    trials = m.sweep.trials
    ran = [trial for trial in trials if trial.reports]
    if not ran:
        return Section("cost", "Cost", (Absent("No trial has trained yet, so there are no costs."),))
    began, ended = m.history.header.time, last_record_time(m)
    pairs = [
        ("first record", format_time(began)),
        ("last record", format_time(ended)),
        ("from first to last", duration(ended - began)),
        ("training", duration(sum(r.train_s for t in ran for r in t.reports))),
        ("evaluation", duration(sum(r.evaluate_s for t in ran for r in t.reports))),
        ("peak memory of a trial", f"{max(r.peak_mb for t in ran for r in t.reports):,.0f} MB"),
        ("trials that trained", str(len(ran))),
        ("epochs trained", f"{sum(t.ran for t in ran):,.6g}"),
        ("images trained on", f"{sum(r.samples for t in ran for r in t.reports):,}"),
    ]
    if (saved := saved_share(m)) is not None:
        pairs.append(("saved by early stopping", f"{percent(saved)} of the epochs"))
    repeated = sum(trial.outcome == "reused" for trial in trials)
    if repeated:
        pairs.append(
            ("repeated configurations", f"{repeated} reused an earlier trial's value without training")
        )
    held: list[Block] = [
        FactList(tuple(pairs)),
        Text(
            "Training and evaluation times are sums over trials, without start-up; trials may have run in"
            " parallel. The time from first to last record includes pauses between an interruption and its"
            " resume."
        ),
    ]
    if (lanes := max(report.lanes for trial in ran for report in trial.reports)) > 1:
        held.append(
            Text(
                f"Up to {lanes} trials took their steps together in one worker. The seconds and the memory of"
                " such a trial are its share of what its pack took."
            )
        )
    if len({trial.adapter for trial in ran}) > 1:
        held.append(_by_adapter(ran))
    return Section("cost", "Cost", tuple(held))


def saved_share(m: Material) -> float | None:
    """The share of the epochs of ended trials that early stopping saved; None if no trial was stopped."""
    ended = [t for t in m.sweep.trials if t.outcome in ("completed", "early_stopped", "pruned") and t.epochs]
    if not any(t.outcome != "completed" for t in ended):
        return None
    return 1 - sum(t.ran for t in ended) / sum(t.epochs for t in ended)


def last_record_time(m: Material) -> float:
    """The time of the last entry of the record, as far as it is known."""
    times = [m.history.header.time]
    times += [score.time for score in m.history.scores.values()]
    for trial in m.history.trials.values():
        times.append(trial.started)
        if trial.reports:
            times.append(trial.reports[-1].time)
        if trial.ended is not None:
            times.append(trial.ended.time)
    if m.history.closed is not None:
        times.append(m.history.closed.time)
    return max(times)


def _by_adapter(ran: list[Trial]) -> Table:
    counts = Counter(trial.adapter for trial in ran)
    rows = []
    for name, number in counts.most_common():
        own = [trial for trial in ran if trial.adapter == name]
        epochs = sum(trial.ran for trial in own)
        seconds = sum(trial.seconds for trial in own)
        peak = max(trial.peak_mb or 0.0 for trial in own)
        pace = f"{seconds / epochs:.1f}" if epochs else "–"
        rows.append((name, str(number), f"{epochs:,.6g}", duration(seconds), pace, f"{peak:,.0f}"))
    columns = ("adapter", "trials", "epochs", "time", "s/epoch", "peak MB")
    caption = "time: training and evaluation of all trials of an adapter; peak MB: maximum over its trials"
    return Table("Cost by adapter", columns, tuple(rows), caption, numeric=(1, 2, 3, 4, 5))
