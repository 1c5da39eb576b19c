"""Checks of several objectives and of constraints: their metrics, and who can weigh them."""

from __future__ import annotations

from collections.abc import Iterator

from trainables.specs.costs import COSTS
from trainables.specs.workload import Direction
from tuning.experiment.checks.draft import Draft
from tuning.experiment.checks.objective import check_metric
from tuning.experiment.file_errors import Path, Violation
from tuning.experiment.objective_list import FURTHER

_ONE_NUMBER = {
    "gp": "its Gaussian process models one value",
    "cmaes": "it orders trials by one value",
}
"""Algorithms that take neither several objectives nor constraints, and why."""


def check_goals(draft: Draft) -> Iterator[Violation]:
    """All checks of the objectives after the first one, and of the constraints."""
    if draft.task is None:
        return
    named = set() if draft.objective is None else {draft.objective.metric}
    for place, objective in enumerate(draft.further):
        at = (FURTHER, place, "metric")
        if objective.metric in named:
            yield Violation(at, f"names '{objective.metric}' a second time; name each metric once")
            continue
        named.add(objective.metric)
        yield from _check(draft, objective.metric, objective.mode, at)
    for metric in draft.constraints:
        yield from _check(draft, metric, None, ("constraints", metric))
    yield from _search(draft)
    yield from _scheduler(draft)


def _check(draft: Draft, metric: str, mode: Direction | None, at: Path) -> Iterator[Violation]:
    if metric not in COSTS:
        yield from check_metric(draft, metric, mode, at, costs=True)
    elif mode is Direction.MAXIMIZE:
        yield Violation((*at[:-1], "mode"), f"{metric} is better when smaller; use min or leave mode out")


def _search(draft: Draft) -> Iterator[Violation]:
    """The algorithm must be able to weigh what it is told."""
    search = draft.search
    if search is None or not (draft.further or draft.constraints):
        return
    asked = "several objectives" if draft.further else "constraints"
    if search.algorithm in _ONE_NUMBER:
        yield Violation(
            ("search", search.algorithm),
            f"cannot take {asked}: {_ONE_NUMBER[search.algorithm]}; use tpe or nsga2",
        )
    if search.algorithm == "optuna" and draft.constraints:
        yield Violation(
            ("search", "optuna"), "cannot be told constraints; use tpe or nsga2, or leave constraints out"
        )


def _scheduler(draft: Draft) -> Iterator[Violation]:
    scheduler = draft.scheduler
    if scheduler is not None and scheduler.dominance is not None and not draft.further:
        yield Violation(
            ("scheduler", "dominance"),
            "compares several objectives, and there is one; list more under objective, or use asha",
        )
