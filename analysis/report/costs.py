"""The section on quality beside cost. No ray, no torch."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.errors import NothingToRankError
from analysis.query.sweep import Trial
from analysis.ranking.cost import Cost
from analysis.ranking.pareto import Pareto, measured
from analysis.ranking.pareto import pareto as weighed
from analysis.report.document import Absent, Block, Figure, Section
from analysis.report.inputs import Material, sample_trials
from analysis.report.phrases import with_full_stop
from analysis.report.plots import CostPoint, Costs
from analysis.tables import Table, format_count, plural

SPOTS = 400
"""Trials that are drawn, beside those of the front."""


def pareto_section(m: Material) -> Section:
    """What more trained parameters, seconds of training, or milliseconds an image, buy."""
    title = "Quality beside cost"
    by_number = {trial.number: trial for trial in m.sweep.trials}
    held: list[Block] = []
    fronts: dict[str, list[int]] = {}
    for cost in (Cost.PARAMETERS, Cost.SECONDS, Cost.LATENCY):
        try:
            found = weighed(m.sweep, cost)
        except NothingToRankError as error:
            held.append(Absent(with_full_stop(str(error))))
            continue
        if len(found.points) < 2:
            held.append(
                Absent(f"One trial alone ran to its own end, so its {cost.words} are compared with none.")
            )
            continue
        fronts[cost.words] = [point.trial for point in found.front]
        held.append(_cost_figure(m, found, by_number))
    drawn = [block for block in held if isinstance(block, Figure)]
    if not drawn:
        return Section("pareto", title, tuple(held[:1]))
    return Section("pareto", title, (*held, _front_table(m, fronts)))


def _cost_figure(m: Material, found: Pareto, by_number: Mapping[int, Trial]) -> Figure:
    words, on = found.cost.words, {point.trial for point in found.front}
    ended = sample_trials([by_number[p.trial] for p in found.points], SPOTS)
    kept = on | {trial.number for trial in ended}
    spots = tuple(
        CostPoint(p.trial, by_number[p.trial].adapter, p.cost, p.value, p.trial in on)
        for p in found.points
        if p.trial in kept
    )
    sample = "" if len(spots) == len(found.points) else f", {len(spots)} of them drawn"
    return Figure(
        f"pareto-{found.cost.value}",
        f"{m.metric} against {words}",
        f"{m.metric} against {words} of {plural(len(found.points), 'finished trial')}; none is as good for"
        f" less than trials {', '.join(str(p.trial) for p in found.front)}",
        f"Trials that {measured(found.cost)} ({len(found.points)}{sample}),"
        f" {m.metric} on validation images. Filled: no other is as good for less. It is a front of single"
        " runs: figures closer than"
        f" {_close(m)} may be the other way round with another seed.",
        Costs(m.metric, words, found.cost is Cost.PARAMETERS, spots),
    )


def _close(m: Material) -> str:
    return "the error of a run, which is not recorded," if m.error is None else f"{m.error[0]:.1g}"


def _front_table(m: Material, fronts: Mapping[str, list[int]]) -> Table:
    rows = []
    for trial, standing in m.ranking.ranked:
        on = [name for name, numbers in fronts.items() if trial.number in numbers]
        if on:
            peak, latency = (cost.of(m.sweep, trial) for cost in (Cost.MEMORY, Cost.LATENCY))
            rows.append(
                (
                    str(trial.number), trial.adapter, trial.freezing, m.rounded(standing.value),
                    format_count(trial.trainable), f"{trial.seconds:,.{1 if trial.seconds < 100 else 0}f}",
                    "–" if peak is None else f"{peak:,.0f}",
                    "–" if latency is None else f"{latency:.3g}",
                    " and ".join(name.split(" of ")[0] for name in on),
                )
            )  # fmt: skip
    columns = (
        "trial",
        "adapter",
        "freezing",
        f"validation {m.metric}",
        "trained",
        "seconds",
        "peak MB",
        "ms an image",
        "front of",
    )
    caption = (
        "Picked on validation images, best first. seconds: training and evaluation, start-up left out."
        " ms an image: forward pass of one, on the machine that scored it"
    )
    return Table("On a front", columns, tuple(rows[:20]), caption, numeric=(0, 3, 4, 5, 6, 7))
