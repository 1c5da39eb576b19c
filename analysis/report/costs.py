"""The section on quality against cost."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.errors import NothingToRankError
from analysis.query.sweep import Trial
from analysis.ranking.cost import Cost
from analysis.ranking.pareto import Pareto, format_cost, measured, pareto, separated
from analysis.report.document import Absent, Block, Figure, Section
from analysis.report.inputs import Material, sample_trials
from analysis.report.plots import CostPoint, Costs
from analysis.tables import Table, format_count
from trainables.wording import plural, with_full_stop

POINTS = 400
"""Maximum number of trials that are drawn in addition to those on the front."""


def pareto_section(m: Material) -> Section:
    """Pareto fronts of quality against trainable parameters, training time and latency."""
    title = "Quality and cost"
    by_number = {trial.number: trial for trial in m.sweep.trials}
    held: list[Block] = []
    fronts: dict[str, list[int]] = {}
    for cost in (Cost.PARAMETERS, Cost.SECONDS, Cost.LATENCY):
        try:
            found = pareto(m.sweep, cost)
        except NothingToRankError as error:
            held.append(Absent(with_full_stop(str(error))))
            continue
        if len(found.points) < 2:
            held.append(
                Absent(f"Only one trial finished, so there is nothing to compare its {cost.label} with.")
            )
            continue
        fronts[cost.label] = [point.trial for point in found.front]
        held.append(_cost_figure(m, found, by_number))
    drawn = [block for block in held if isinstance(block, Figure)]
    if not drawn:
        return Section("pareto", title, tuple(held[:1]))
    return Section("pareto", title, (*held, _front_table(m, fronts)))


def _cost_figure(m: Material, found: Pareto, by_number: Mapping[int, Trial]) -> Figure:
    words, on = found.cost.label, {point.trial for point in found.front}
    ended = sample_trials([by_number[p.trial] for p in found.points], POINTS)
    kept = on | {trial.number for trial in ended}
    points = tuple(
        CostPoint(p.trial, by_number[p.trial].adapter, p.cost, p.value, p.trial in on, p.range)
        for p in found.points
        if p.trial in kept
    )
    sample = "" if len(points) == len(found.points) else f", {len(points)} of them drawn"
    return Figure(
        f"pareto-{found.cost.value}",
        f"{m.metric} against {words}",
        f"{m.metric} against {words} of {plural(len(found.points), 'finished trial')}; Pareto-optimal:"
        f" {', '.join(f'trial {p.trial}' for p in found.front)}",
        f"Trials that {measured(found.cost)} ({len(found.points)}{sample}),"
        f" {m.metric} on validation images. Filled: Pareto-optimal, no other trial is as good at lower cost."
        f" Each trial is a single run: differences smaller than {_close(m)} may reverse with another seed."
        + (f" {said}." if (said := separated(found)) else ""),
        Costs(m.metric, words, found.cost is Cost.PARAMETERS, points),
    )


def _close(m: Material) -> str:
    return "the error of a run (not recorded)" if m.error is None else f"{m.error[0]:.1g}"


def _front_table(m: Material, fronts: Mapping[str, list[int]]) -> Table:
    rows = []
    for trial, standing in m.ranking.ranked:
        on = [name for name, numbers in fronts.items() if trial.number in numbers]
        if on:
            peak, latency = (cost.of(m.sweep, trial) for cost in (Cost.MEMORY, Cost.LATENCY))
            turns = Cost.LATENCY.range_of(m.sweep, trial)
            rows.append(
                (
                    str(trial.number), trial.adapter, trial.freezing, m.value_of(standing),
                    format_count(trial.trainable), f"{trial.seconds:,.{1 if trial.seconds < 100 else 0}f}",
                    "–" if peak is None else f"{peak:,.0f}",
                    "–" if latency is None else format_cost(Cost.LATENCY, latency, turns),
                    " and ".join(name.split(" of ")[0] for name in on),
                )
            )  # fmt: skip
    columns = (
        "trial",
        "adapter",
        "freezing",
        f"validation {m.metric}",
        "trainable",
        "seconds",
        "peak MB",
        "ms/image",
        "optimal for",
    )
    caption = (
        "Best first, by the value on validation images. seconds: training and evaluation, without start-up."
        " ms/image: forward pass of one image; in brackets the range of the middle five of seven turns"
        + m.worth(standings=[standing for _, standing in m.ranking.ranked])
    )
    return Table("Pareto-optimal trials", columns, tuple(rows[:20]), caption, numeric=(0, 3, 4, 5, 6, 7))
