"""Commands that ask the record: best and query. Part of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainables.errors import AdaptertuneError
from tuning.cli.console import print_table
from tuning.cli.options import WHERE, Format, Names, Storage
from tuning.formatting import json_text
from tuning.messages import say

if TYPE_CHECKING:
    from analysis.query.sql import Source
    from analysis.ranking.best import Ranking

app = typer.Typer()

To = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where json, yaml, csv or parquet goes; standard output when absent."),
]


@app.command()
def best(
    name: Names,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="SQL", help=WHERE)] = None,
    metric: Annotated[str | None, typer.Option(help="Another recorded figure than the objective.")] = None,
    at: Annotated[
        float | None, typer.Option(min=0.0, metavar="EPOCH", help="Rank all at this budget instead.")
    ] = None,
    early_stopped: Annotated[
        bool,
        typer.Option("--early-stopped", help="Let trials compete that were stopped early, or still run."),
    ] = False,
    format_: Annotated[
        Format, typer.Option("--format", help="yaml: the best trial as a file for `train`.")
    ] = Format.TABLE,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Rank the trials of an experiment, or of several, and say by which rule."""
    from analysis.query.sql import opened
    from analysis.ranking.best import best_json, best_of, best_rows, best_table
    from analysis.ranking.best_sql import rank_by_sql as first

    _writable(format_, to)
    with opened(_folders(name, storage), tell=say) as source:
        ranking = first(
            source,
            top,
            metric=metric,
            where=where,
            at=at,
            early_stopped=early_stopped,
            reports=format_ not in (Format.TABLE, Format.YAML),
        )
        match format_:
            case Format.JSON:
                _write(json_text(best_json(ranking, top)) + "\n", to)
            case Format.YAML:
                _write(_as_yaml(source, ranking), to)
            case Format.CSV | Format.PARQUET:
                best_of(ranking)
                rows = best_rows(ranking, top)
                columns = list(dict.fromkeys(column for row in rows for column in row))
                _write_rows(columns, [[row.get(c) for c in columns] for row in rows], format_, to)
            case Format.TABLE:
                from tuning.cli.console import console

                best_of(ranking)
                print_table(console(), best_table(ranking, top))


def _as_yaml(source: Source, ranking: Ranking) -> str:
    from analysis.ranking.best import best_of
    from tuning.experiment.write import experiment_yaml

    trial, standing = best_of(ranking)
    value = f"{ranking.objective.metric} {standing.value:.4f}"
    experiment = source.recorded(trial.sweep).experiment
    said = f"# {trial.sweep}, trial {trial.number}: {value}\n# {ranking.caption}\n"
    return said + experiment_yaml(experiment, trial.params)


@app.command()
def query(
    name: Names,
    sql: Annotated[
        str | None,
        typer.Argument(metavar="SQL", help="One SELECT over trials, epochs, events; absent: their columns."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How the answer is written.")] = Format.TABLE,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Ask the record of an experiment, or of several, in SQL."""
    from analysis.query.sql import opened, rows_of

    _writable(format_, to)
    with opened(_folders(name, storage), tell=say) as source:
        if sql is None:
            rows = [(view, column) for view, names in source.columns.items() for column in names]
            _answer(("table", "column"), rows, format_, to, source.name)
            return
        if format_ is Format.PARQUET:  # with the types that the answer has
            _parquet(source.arrow(sql), to)
            return
        _answer(*rows_of(source.ask(sql)), format_, to, source.name)


def _answer(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], format_: Format, to: Path | None, title: str
) -> None:
    match format_:
        case Format.TABLE:
            from analysis.tables import Table, plural
            from tuning.cli.console import console
            from tuning.formatting import format_setting

            cells = tuple(tuple("–" if v is None else format_setting(v) for v in row) for row in rows)
            numbers = tuple(
                i for i in range(len(columns)) if all(isinstance(row[i], int | float | None) for row in rows)
            )
            print_table(console(), Table(title, tuple(columns), cells, plural(len(rows), "row"), numbers))
        case Format.JSON:
            named = [dict(zip(columns, row, strict=True)) for row in rows]
            _write(json.dumps(named, indent=2, ensure_ascii=False, default=str) + "\n", to)
        case Format.YAML:
            from tuning.experiment.yaml_lines import dump_yaml_list

            _write(dump_yaml_list([dict(zip(columns, map(_plain, row), strict=True)) for row in rows]), to)
        case Format.CSV | Format.PARQUET:
            _write_rows(columns, rows, format_, to)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


# --- files ------------------------------------------------------------------------------------


def _folders(name: str, storage: Path | None) -> list[Path]:
    from tuning.ledger.storage import find_experiments, storage_folder

    return find_experiments(name, storage_folder(storage))


def _writable(format_: Format, to: Path | None) -> None:
    """Raises AdaptertuneError where the answer has no place to go, before it is looked for."""
    if to is not None and format_ is Format.TABLE:
        raise AdaptertuneError("--to goes with --format json, yaml, csv or parquet")
    if to is None and format_ is Format.PARQUET and sys.stdout.isatty():
        raise AdaptertuneError("Parquet is not for a terminal; name a file with --to, or use a pipe")
    if to is not None and not to.absolute().parent.is_dir():
        raise AdaptertuneError(f"--to {to}: there is no folder {to.absolute().parent}; make it first")
    if to is not None and to.is_dir():
        raise AdaptertuneError(f"--to {to}: this is a folder, and a file is needed")


def _write(text: str, to: Path | None) -> None:
    if to is None:
        typer.echo(text, nl=False)
    else:
        to.write_text(text, encoding="utf-8")


def _write_rows(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], format_: Format, to: Path | None
) -> None:
    if format_ is Format.PARQUET:
        import pyarrow

        cells = [[row[i] for row in rows] for i in range(len(columns))]
        _parquet(pyarrow.table([_column(values) for values in cells], names=list(columns)), to)
        return
    from analysis.tables import csv_text

    _write(csv_text(columns, rows), to)


def _column(values: Sequence[Any]) -> Any:
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # numbers and text under one setting
        return pyarrow.array([None if value is None else str(value) for value in values])


def _parquet(table: Any, to: Path | None) -> None:
    from pyarrow import BufferOutputStream
    from pyarrow.parquet import write_table

    content = BufferOutputStream()
    write_table(table, content)
    data = content.getvalue().to_pybytes()
    if to is None:
        typer.get_binary_stream("stdout").write(data)
    else:
        to.write_bytes(data)
