"""`tuning.ranking` as SQL: which trials a policy ranks, in which order, and their values."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.specs.workload import Direction, ValueRule
from tuning.ranking.policy import Policy
from tuning.ranking.standing import NEARLY, Objective
from tuning.tables.relations import sql_name, sql_text
from tuning.tables.rows import RUNNING


def ranked_sql(policy: Policy) -> str:
    """The condition on columns outcome, ran and value that a trial is ranked."""
    outcomes = {outcome for outcomes in policy.classes for outcome in outcomes}
    found = f"value IS NOT NULL AND {_among(outcomes)}"
    return found if policy.budget is None else f"{found} AND ran >= {policy.budget - NEARLY}"


def order_sql(policy: Policy, direction: Direction) -> str:
    """The keys of ORDER BY, on columns outcome, value, experiment and trial."""
    way = "DESC" if direction is Direction.MAXIMIZE else "ASC"
    keys = f"value {way}, experiment, trial"
    if len(policy.classes) == 1:
        return keys
    cases = (f"WHEN {_among(outcomes)} THEN {index}" for index, outcomes in enumerate(policy.classes))
    return f"CASE {' '.join(cases)} END, {keys}"


def _among(outcomes: Iterable[str | None]) -> str:
    names = sorted(RUNNING if outcome is None else str(outcome) for outcome in outcomes)
    return f"outcome IN ({', '.join(map(sql_text, names))})"


def standings_sql(objective: Objective, at: float | None, columns: Iterable[str]) -> str:
    """A query for each trial's value and its epoch; see `tuning.ranking.standing`.

    columns: those of the view epochs; the metric has none before the first report.
    """
    column = f"metrics.{objective.metric}"
    columns = frozenset(columns)
    value = sql_name(column) if column.lower() in map(str.lower, columns) else "NULL::DOUBLE"
    if objective.rule is ValueRule.LAST:
        found, sign = "max({'epoch': epoch, 'value': %s})", ""
    elif objective.direction is Direction.MAXIMIZE:
        found, sign = "max({'value': %s, 'epoch': -epoch})", "-"
    else:
        found, sign = "min({'value': %s, 'epoch': epoch})", ""
    own_size = " AND image_size IS NULL" if "image_size" in columns else ""
    upto = "" if at is None else f" AND epoch <= {at + NEARLY}"
    return (
        f"SELECT experiment, trial, s.value AS value, {sign}s.epoch AS epoch FROM"
        f" (SELECT experiment, trial, {found % value} AS s FROM epochs"
        f" WHERE {value} IS NOT NULL{own_size}{upto} GROUP BY experiment, trial)"
    )
