"""The command `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.ablations.options import ResultFormat
from tuning.cli.completion import complete_trial
from tuning.cli.options import OutputFormat, Storage
from tuning.messages import print_answer

if TYPE_CHECKING:
    from analysis.compare.sides import Side


def run_compare(
    one: Annotated[
        str,
        typer.Argument(metavar="A", help="An experiment, or NAME:TRIAL.", autocompletion=complete_trial),
    ],
    other: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The experiment or trial to compare with.", autocompletion=complete_trial
        ),
    ],
    format_: Annotated[
        ResultFormat, typer.Option("--format", help="The format of the comparison.")
    ] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Compare two experiments or two trials: their settings and their results."""
    from analysis.compare.sides import compare_sides
    from analysis.compare.tables import compare_tables
    from analysis.compare.words import compare_json, compare_sentences
    from analysis.tables import csv_text, table_markdown
    from tuning.cli.console import console, print_lines, print_table
    from tuning.formatting import json_text
    from tuning.ledger.storage import storage_folder

    place = storage_folder(storage)
    sides = compare_sides(_side(one, place), _side(other, place))
    tables, summary = compare_tables(sides), compare_sentences(sides)
    match format_:
        case OutputFormat.JSON:
            print_answer(json_text(compare_json(sides)))
        case OutputFormat.CSV:
            rows = [[table.title, *row[:3]] for table in tables for row in table.rows]
            print_answer(csv_text(["table", "row", "a", "b"], rows), nl=False)
        case OutputFormat.MARKDOWN:
            parts = [*map(table_markdown, tables), "\n".join(f"- {sentence}" for sentence in summary)]
            print_answer("\n\n".join(parts))
        case OutputFormat.TABLE:
            out = console()
            for table in tables:
                print_table(out, table)
            print_lines(out, *summary)


def _side(text: str, storage: Path) -> Side:
    from analysis.compare.sides import choose_side
    from analysis.query.sweep import Sweep
    from tuning.ledger.ledger import read_history
    from tuning.ledger.storage import parse_reference

    reference = parse_reference(text, storage)
    history = read_history(reference.folder)
    number = reference.number
    if reference.metric is not None:
        from analysis.ranking.rank_by_sql import best_number

        number = best_number(reference.folder, reference.metric)
    return choose_side(text, reference.folder, Sweep.of(history), number, history.prepared)
