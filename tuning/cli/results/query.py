"""The command `query`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.options import AnswerFormat, Names, OutputFormat, Storage, To
from tuning.messages import say


def run_query(
    name: Names,
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL",
            help="One SELECT over trials, epochs and events. Without it, the columns of each are shown.",
        ),
    ] = None,
    format_: Annotated[
        AnswerFormat, typer.Option("--format", help="The format of the answer.")
    ] = OutputFormat.TABLE,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Query the records of one or several experiments in SQL.

    docs/reference/query.md describes the tables and their columns.
    """
    from analysis.query.sql import opened, rows_of
    from tuning.cli.answers import check_target, write_answer, write_parquet
    from tuning.ledger.storage import find_experiments, storage_folder

    check_target(format_, to)
    with opened(find_experiments(name, storage_folder(storage)), tell=say) as source:
        for difference in source.other_definitions():
            say(difference)
        if sql is None:
            rows = [(view, column) for view, names in source.columns.items() for column in names]
            write_answer(("table", "column"), rows, format_, to, source.name)
        elif format_ is OutputFormat.PARQUET:  # keeps the types of the answer
            write_parquet(source.arrow(sql), to)
        else:
            write_answer(*rows_of(source.ask(sql)), format_, to, source.name)
