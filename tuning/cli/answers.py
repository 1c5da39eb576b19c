"""Writes the answers of `best` and `query` as JSON, YAML, CSV or Parquet, on standard output or to a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import typer

from analysis.tables import Table, csv_text
from trainables.errors import AdaptertuneError
from trainables.wording import plural
from tuning.cli.console import console, print_table
from tuning.cli.options import AnswerFormat, OutputFormat
from tuning.formatting import format_setting
from tuning.messages import print_answer


def check_target(format_: AnswerFormat, to: Path | None) -> None:
    """Raise AdaptertuneError if the answer could not be written, before it is computed."""
    if to is not None and format_ is OutputFormat.TABLE:
        raise AdaptertuneError("--to needs --format json, yaml, csv or parquet")
    if to is None and format_ is OutputFormat.PARQUET and sys.stdout.isatty():
        raise AdaptertuneError("Parquet cannot be shown on a terminal; name a file with --to, or use a pipe")
    if to is not None and not to.absolute().parent.is_dir():
        raise AdaptertuneError(f"--to {to}: there is no folder {to.absolute().parent}; create it first")
    if to is not None and to.is_dir():
        raise AdaptertuneError(f"--to {to}: this is a folder, and a file is needed")


def write_answer(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], format_: AnswerFormat, to: Path | None, title: str
) -> None:
    """Write rows in the format that was asked for. title: of the table."""
    match format_:
        case OutputFormat.TABLE:
            cells = tuple(tuple("–" if v is None else format_setting(v) for v in row) for row in rows)
            numbers = tuple(
                i for i in range(len(columns)) if all(isinstance(row[i], int | float | None) for row in rows)
            )
            print_table(console(), Table(title, tuple(columns), cells, plural(len(rows), "row"), numbers))
        case OutputFormat.JSON:
            named = [dict(zip(columns, row, strict=True)) for row in rows]
            write_text(json.dumps(named, indent=2, ensure_ascii=False, default=str) + "\n", to)
        case OutputFormat.YAML:
            from tuning.experiment.yaml_lines import dump_yaml_list  # ruamel.yaml

            write_text(
                dump_yaml_list([dict(zip(columns, map(_plain, row), strict=True)) for row in rows]), to
            )
        case OutputFormat.CSV | OutputFormat.PARQUET:
            write_rows(columns, rows, format_, to)


def write_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    format_: Literal[OutputFormat.CSV, OutputFormat.PARQUET],
    to: Path | None,
) -> None:
    """Write rows as CSV or Parquet."""
    if format_ is OutputFormat.CSV:
        write_text(csv_text(columns, rows), to)
        return
    import pyarrow

    cells = [[row[i] for row in rows] for i in range(len(columns))]
    write_parquet(pyarrow.table([_column(values) for values in cells], names=list(columns)), to)


def write_text(text: str, to: Path | None) -> None:
    """Write text to a file, or on standard output."""
    if to is None:
        print_answer(text, nl=False)
    else:
        to.write_text(text, encoding="utf-8")


def write_parquet(table: Any, to: Path | None) -> None:
    """Write an Arrow table as Parquet to a file, or on standard output."""
    from pyarrow import BufferOutputStream
    from pyarrow.parquet import write_table

    content = BufferOutputStream()
    write_table(table, content)
    data = content.getvalue().to_pybytes()
    if to is None:
        typer.get_binary_stream("stdout").write(data)
    else:
        to.write_bytes(data)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _column(values: Sequence[Any]) -> Any:
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # numbers and text under one setting
        return pyarrow.array([None if value is None else str(value) for value in values])
