"""The section on several objectives: their front, and how it grew."""

from __future__ import annotations

from analysis.errors import NothingToRankError
from analysis.ranking.hypervolume import growth
from analysis.ranking.objectives_front import ObjectivesFront, front_table, objectives_front
from analysis.ranking.weighed import label
from analysis.report.document import Absent, Block, Figure, Section
from analysis.report.inputs import Material
from analysis.report.plots import CostPoint, Costs, Growth
from trainables.specs.costs import CostMetric
from trainables.specs.workload import Direction
from trainables.wording import plural, with_full_stop
from tuning.experiment.goals import Goal

_COUNTS = (CostMetric.PARAMETERS, CostMetric.MACS)


def objectives_section(m: Material) -> Section:
    """The first objective against each other one, the hypervolume over the sweep, and the front."""
    title = "The front of the objectives"
    try:
        found = objectives_front(m.sweep)
    except NothingToRankError as error:
        return Section("objectives", title, (Absent(with_full_stop(str(error))),))
    held: list[Block] = [_against(m, found, goal) for goal in found.goals.objectives[1:]]
    if len(found.trials) > 1:
        held.append(_growth_figure(m, found))
    return Section("objectives", title, (*held, front_table(found)))


def _against(m: Material, found: ObjectivesFront, goal: Goal) -> Figure:
    first = found.goals.first
    on = {each.trial for each in found.front}
    adapters = {trial.number: trial.adapter for trial in m.sweep.trials}
    points = tuple(
        CostPoint(
            each.trial,
            adapters[each.trial],
            each.values[goal.metric],
            each.values[first.metric],
            each.trial in on,
        )
        for each in found.trials
    )
    two = len(found.goals.objectives) == 2
    staircase = two and (first.direction, goal.direction) == (Direction.MAXIMIZE, Direction.MINIMIZE)
    more = "" if two else ", in all objectives, so that it may look beaten in these two"
    log = goal.metric in _COUNTS and min(point.x for point in points) > 0
    return Figure(
        f"objectives-{goal.metric.replace('/', '-').replace('@', '-')}",
        f"{first.metric} against {label(goal.metric)}",
        f"{first.metric} against {label(goal.metric)} of {plural(len(points), 'finished trial')}; on the"
        f" front: {', '.join(f'trial {each.trial}' for each in found.front)}",
        f"Trials that ran to their own end ({len(points)}). Filled: on the front{more}. Each trial is a"
        " single run: close values may change places with another seed.",
        Costs(first.metric, label(goal.metric), log, points, line=staircase),
    )


def _growth_figure(m: Material, found: ObjectivesFront) -> Figure:
    by_number = {each.trial: each for each in found.trials}
    ended = [by_number[number] for number in m.history.ends if number in by_number]
    shares = growth([each.vector for each in ended])
    best = next(place for place, share in enumerate(shares) if share == shares[-1])
    return Figure(
        "hypervolume",
        "Hypervolume over the sweep",
        f"The hypervolume after each of {plural(len(ended), 'trial')}: {shares[0]:.3f} at first,"
        f" {shares[-1]:.3f} at the end; trial {ended[best].trial} was the last to raise it",
        "The share of the box between the worst and the best values of these trials that the trials so far"
        " dominate, in the order of their ends. It compares moments of this sweep, not two sweeps.",
        Growth("trials that ran to their own end", "hypervolume", tuple(enumerate(shares, start=1))),
    )
