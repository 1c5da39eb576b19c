"""DuckDB tables from rows, and Parquet files as SQL relations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.tables.rows import Row

if TYPE_CHECKING:
    import duckdb


def connect_duckdb(threads: int | None = None, *, caches: bool = True) -> duckdb.DuckDBPyConnection:
    """Open a database in memory, on all cores if `threads` is None. The caller closes it.

    caches: keep what was read of Parquet files, for the next query. Without, a connection that stays open for
    hours takes no more memory than at its start.
    """
    import duckdb

    connection = duckdb.connect(config={} if threads is None else {"threads": threads})
    # Only where it is on: in a notebook without ipywidgets it is off, and DuckDB refuses to set it at all.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar = false")
    if caches:
        connection.execute("SET parquet_metadata_cache = true")
    else:
        connection.execute("SET enable_external_file_cache = false")
        connection.execute("SET allocator_flush_threshold = '4MiB'")
    return connection


def create_table(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[Row], kinds: Mapping[str, str]
) -> list[str]:
    """Create a temporary table of rows; return its columns.

    kinds: the columns that the table always has, and their types. Other columns get a type that fits all
    their values; columns without any value are left out. SQL names ignore case, so of `metrics.dice` and
    `Metrics.Dice` only the first one becomes a column.
    """
    names = {name.lower(): name for name in kinds}
    for row in rows:
        for column, value in row.items():
            if value is not None and column.lower() not in names:
                names[column.lower()] = column
    columns = list(names.values())
    types = [kinds.get(column) or _kind({type(row.get(column)) for row in rows}) for column in columns]
    # Columns are numbered, so that any name works. Reading JSON column by column is twice as fast as row by
    # row, and avoids importing pyarrow and numpy, which some versions do for any parameter.
    shape = json.dumps({f"c{i}": [kind] for i, kind in enumerate(types)})
    cells = json.dumps(
        {f"c{i}": [_cell(row.get(column), types[i]) for row in rows] for i, column in enumerate(columns)}
    )
    shown = ", ".join(f"unnest(t.c{i}) AS {sql_name(column)}" for i, column in enumerate(columns))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {sql_name(name)} AS SELECT {shown}"
        f" FROM (SELECT from_json({sql_text(cells)}::JSON, '{shape}') AS t)"
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


def sql_parquet(files: Sequence[Path]) -> str:
    """Parquet files as one SQL relation; a column is NULL for the files that lack it."""
    listed = ", ".join(sql_text(str(file)) for file in files)
    return f"read_parquet([{listed}], union_by_name = true)"


def sql_text(value: str) -> str:
    """A text as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
