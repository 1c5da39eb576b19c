"""Filtering trials with an SQL expression (DuckDB), over these columns. No ray, no torch.

trial, outcome, value, epoch, ran, seconds, peak_mb, stopped_by
parameters.adapter, parameters.head, parameters.backbone, parameters.total
every setting by its dotted name          adapter, freezing, lora.rank, learning_rate
every figure, also as metrics.NAME        dice, map_50, metrics.loss (`loss` is the setting)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from analysis.frames import Objective, QueryError, Scalar, Trial


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
    table = rows(trials, objective)
    columns = _columns(table)
    # Columns go in under numbers: to DuckDB `metrics.dice` and `Metrics.Dice` are one name. JSON spares
    # the import of pyarrow and numpy, half a second on a busy machine.
    kinds = [_kind(row.get(name) for row in table) for name in columns]
    shape = [{f"c{i}": kind for i, kind in enumerate(kinds)}]
    data = [{f"c{i}": _cell(row.get(name), kinds[i]) for i, name in enumerate(columns)} for row in table]
    connection = duckdb.connect(config={"enable_external_access": "false", "lock_configuration": "true"})
    try:
        connection.execute(
            f"CREATE TEMP TABLE numbered AS SELECT unnest(from_json(?::JSON, '{json.dumps(shape)}'),"
            " recursive := true)",
            [json.dumps(data)],
        )
        connection.execute(f"CREATE TEMP VIEW trials AS SELECT {_projection(columns)} FROM numbered")
        found = connection.execute(f"SELECT trial FROM trials WHERE ({where}\n)").fetchall()
    except duckdb.Error as error:
        message = str(error).split("\n\n")[0].strip()
        raise QueryError(
            f"--where {where!r}: {message}. Columns are {', '.join(columns)}; text goes in single quotes,"
            " as in \"adapter = 'lora' AND lora.rank >= 8\""
        ) from error
    finally:
        connection.close()
    kept = {number for (number,) in found}
    return tuple(trial for trial in trials if trial.number in kept)


def _columns(table: Sequence[Mapping[str, Scalar]]) -> list[str]:
    names: dict[str, str] = {}
    for row in table:
        for name in row:
            names.setdefault(name.lower(), name)
    return list(names.values())


def _kind(values: Iterable[Scalar]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        return "DOUBLE"
    return "BOOLEAN" if kinds == {bool} else "VARCHAR"


def _cell(value: Scalar, kind: str) -> Scalar:
    return str(value) if kind == "VARCHAR" and value is not None else value


def _projection(columns: Sequence[str]) -> str:
    """Each column under its name, and each section as a struct, so that `lora.rank` needs no quotes."""
    parts = [f"c{i} AS {_quoted(name)}" for i, name in enumerate(columns)]
    plain = {name.lower() for name in columns}
    sections: dict[str, list[str]] = {}
    for i, name in enumerate(columns):
        section, dot, leaf = name.partition(".")
        if dot and "." not in leaf and section.lower() not in plain:
            sections.setdefault(section, []).append(f"{_quoted(leaf)} := c{i}")
    parts += [f"struct_pack({', '.join(fields)}) AS {_quoted(name)}" for name, fields in sections.items()]
    return ", ".join(parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
