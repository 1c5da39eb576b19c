"""The Pareto front over the objectives of an experiment that has several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from analysis.errors import NothingToRankError, QueryError
from analysis.query.sweep import Sweep
from analysis.ranking.weighed import INFEASIBLE, format_value, label
from analysis.tables import Table
from trainables.wording import counts_in_words, plural
from tuning.experiment.goals import Goals
from tuning.formatting import format_settings
from tuning.ranking.front import Vector, front_of, vector_of


@dataclass(frozen=True)
class Compared:
    """A trial that takes part. vector: its values, turned so that smaller is better."""

    trial: int
    values: Mapping[str, float]
    vector: Vector
    params: Mapping[str, JsonValue]
    rates: Mapping[str, float]
    """See `Trial.rates`."""


@dataclass(frozen=True)
class ObjectivesFront:
    """The trials that ran to their own end and keep their constraints, and those that no other one beats."""

    sweep: str
    goals: Goals
    trials: tuple[Compared, ...]
    """By number."""
    front: tuple[Compared, ...]
    """The best in the first objective first."""
    left_out: Mapping[str, int]
    """The number of trials that are not compared, by outcome."""


def objectives_front(sweep: Sweep) -> ObjectivesFront:
    """Compare the trials of an experiment in all of its objectives.

    Raises QueryError if it has one objective, NothingToRankError if no trial can be compared.
    """
    goals = Goals.of(sweep.experiment)
    if not goals.several:
        raise QueryError(f"{sweep.name} has one objective; compare it with a cost (--cost)")
    compared: list[Compared] = []
    left_out: Counter[str] = Counter()
    for trial in sweep.trials:
        vector = vector_of(goals, trial.outcome, trial.values, feasible=trial.feasible)
        if vector is not None:
            compared.append(Compared(trial.number, trial.values, vector, trial.params, trial.rates))
        else:
            left_out[trial.shown if trial.feasible or not trial.finished else INFEASIBLE] += 1
    if not compared:
        counts = counts_in_words(left_out) or "none has started"
        raise NothingToRankError(
            f"{sweep.name}: no trial has run to its own end, within the constraints and with a value of each"
            f" objective ({counts}), so there is no front"
        )
    on = front_of((each.trial, each.vector) for each in compared)
    by_number = {each.trial: each for each in compared}
    return ObjectivesFront(
        sweep.name, goals, tuple(compared), tuple(by_number[n] for n in on), dict(left_out)
    )


def front_table(found: ObjectivesFront) -> Table:
    """The front, the best in the first objective first."""
    goals = found.goals
    metrics = goals.metrics
    rows = tuple(
        (
            str(each.trial),
            *(format_value(name, each.values.get(name)) for name in metrics),
            format_settings(each.params, each.rates),
        )
        for each in found.front
    )
    directions = ", ".join(f"{g.metric} ({g.direction.value})" for g in goals.objectives)
    caption = (
        f"{plural(len(found.front), 'trial')} that no other one equals in {directions} and beats in one of"
        f" them, of {plural(len(found.trials), 'trial')} that ran to their own end; quality on validation"
        " images. A front of single runs: with another seed, close values may change places"
    )
    if goals.constraints:
        caption += f". Only trials with {goals.bounds} are compared"
    if found.left_out:
        caption += f". Left out: {counts_in_words(dict(sorted(found.left_out.items())))}"
    return Table(
        f"{found.sweep}: the front of {', '.join(g.metric for g in goals.objectives)}",
        ("trial", *(label(name) for name in metrics), "settings"),
        rows,
        caption,
        numeric=tuple(range(1 + len(metrics))),
    )


def front_json(found: ObjectivesFront) -> dict[str, JsonValue]:
    """All trials that are compared for programs, and which of them are on the front."""
    on = {each.trial for each in found.front}
    return {
        "experiment": found.sweep,
        **found.goals.as_json(),
        "left_out": dict(found.left_out),
        "trials": [
            {
                "trial": each.trial,
                "values": dict(each.values),
                "front": each.trial in on,
                "params": dict(each.params),
                **({"rates": dict(each.rates)} if each.rates else {}),
            }
            for each in found.trials
        ],
    }
