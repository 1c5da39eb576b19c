"""Rows as tables of DuckDB, and Parquet files as relations of its SQL. No ray, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.tables.rows import Row

if TYPE_CHECKING:
    import duckdb


def connect(threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory, on all cores where `threads` is None. Close it."""
    import duckdb

    connection = duckdb.connect(config={} if threads is None else {"threads": threads})
    # Only where it is on: in a notebook without ipywidgets it is off, and DuckDB refuses to set it at all.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar = false")
    connection.execute("SET parquet_metadata_cache = true")
    return connection


def load(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[Row], kinds: Mapping[str, str]
) -> list[str]:
    """Makes a table of rows; returns its columns.

    kinds: the columns that are there in any case, and their types. Others get the type that holds all
    their values, and none is made for one without any. To SQL `metrics.dice` and `Metrics.Dice` are
    one name, of which the first is taken.
    """
    names = {name.lower(): name for name in kinds}
    for row in rows:
        for column, value in row.items():
            if value is not None and column.lower() not in names:
                names[column.lower()] = column
    columns = list(names.values())
    types = [kinds.get(column) or _kind({type(row.get(column)) for row in rows}) for column in columns]
    # Columns go in under numbers, whatever they are called. JSON column by column is read twice as fast as
    # row by row, and spares the import of pyarrow and numpy, which some versions do for any parameter.
    shape = json.dumps({f"c{i}": [kind] for i, kind in enumerate(types)})
    cells = json.dumps(
        {f"c{i}": [_cell(row.get(column), types[i]) for row in rows] for i, column in enumerate(columns)}
    )
    shown = ", ".join(f"unnest(t.c{i}) AS {quoted(column)}" for i, column in enumerate(columns))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {quoted(name)} AS SELECT {shown}"
        f" FROM (SELECT from_json({text(cells)}::JSON, '{shape}') AS t)"
    )
    return columns


def _kind(types: set[type]) -> str:
    types = types - {type(None)}
    if types == {int}:
        return "BIGINT"
    if types <= {int, float}:
        return "DOUBLE"
    return "BOOLEAN" if types == {bool} else "VARCHAR"


def _cell(value: Any, kind: str) -> Any:
    return str(value) if kind == "VARCHAR" and value is not None else value


def parquet(files: Sequence[Path]) -> str:
    """Parquet files as one relation in SQL; a column that some lack is empty there."""
    listed = ", ".join(text(str(file)) for file in files)
    return f"read_parquet([{listed}], union_by_name = true)"


def text(value: str) -> str:
    """Text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
