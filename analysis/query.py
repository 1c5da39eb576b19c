"""Filtering trials with an SQL expression (DuckDB), over these columns. No ray, no torch.

trial, outcome, value, epoch, ran, seconds, peak_mb, stopped_by
parameters.adapter, parameters.head, parameters.backbone, parameters.total
every setting by its dotted name          adapter, freezing, lora.rank, learning_rate
every figure, also as metrics.NAME        dice, map_50, metrics.loss (`loss` is the setting)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.frames import Objective, QueryError, Scalar, Trial
from analysis.source import said, with_quotes
from tuning.tables.relations import connect, load


def rows(trials: Sequence[Trial], objective: Objective) -> list[dict[str, Scalar]]:
    """The columns of the module's docstring, one mapping a trial."""
    settings = dict.fromkeys(name for trial in trials for name in trial.config)
    return [_row(trial, objective, settings) for trial in trials]


def _row(trial: Trial, objective: Objective, settings: Mapping[str, None]) -> dict[str, Scalar]:
    standing = trial.standing(objective)
    row: dict[str, Scalar] = {
        "trial": trial.number,
        "outcome": trial.outcome,
        "value": standing.value if standing else None,
        "epoch": standing.epoch if standing else None,
        "ran": trial.ran,
        "seconds": trial.seconds,
        "peak_mb": max((report.peak_mb for report in trial.reports), default=None),
        "stopped_by": trial.stopped_by,
    }
    for part in ("adapter", "head", "backbone", "total"):
        row[f"parameters.{part}"] = trial.parameters.get(part)
    for name in settings:
        row.setdefault(name, trial.config.get(name))
    for name, figure in (standing.metrics if standing else {}).items():
        row[f"metrics.{name}"] = figure
        if name not in settings:
            row.setdefault(name, figure)
    return row


def select(trials: Sequence[Trial], where: str, objective: Objective) -> tuple[Trial, ...]:
    """The trials for which the SQL expression holds. Raises QueryError if it is wrong.

    A dotted name needs no quotes: `lora.rank >= 8 AND adapter = 'lora'`.
    """
    import duckdb

    if not trials:
        return ()
    with connect() as connection:
        columns = load(connection, "trials", rows(trials, objective), {"trial": "INTEGER"})
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            (asked,) = connection.extract_statements(
                with_quotes(f"SELECT trial FROM trials WHERE ({where}\n)", columns)
            )
            found = connection.execute(asked).fetchall()
        except (duckdb.Error, ValueError) as error:
            raise wrong_filter(where, error, columns) from error
    kept = {number for (number,) in found}
    return tuple(trial for trial in trials if trial.number in kept)


def wrong_filter(where: str | None, error: Exception, columns: Sequence[str]) -> QueryError:
    """What to say of a filter that DuckDB refuses."""
    return QueryError(
        f"--where {where!r}: {said(error)}. Columns are {', '.join(columns)}; text goes in single quotes,"
        " as in \"adapter = 'lora' AND lora.rank >= 8\""
    )
