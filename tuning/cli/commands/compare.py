"""What `adaptertune compare` does: two experiments or trials side by side."""

from __future__ import annotations

from pathlib import Path

import typer

from analysis.ablation.names import Writing
from analysis.compare import Side, choose_side, compare_json, compare_sentences, compare_sides, compare_tables
from analysis.query.sweep import Sweep
from analysis.tables import csv_text, table_markdown
from tuning.cli.console import console, lines, print_table
from tuning.formatting import json_text
from tuning.ledger.ledger import read_history
from tuning.ledger.storage import parse_reference


def run(one: str, other: str, storage: Path, writing: Writing) -> None:
    """Prints it. Raises StorageError or CompareError for what is not there."""
    sides = compare_sides(_side(one, storage), _side(other, storage))
    tables, said = compare_tables(sides), compare_sentences(sides)
    match writing:
        case Writing.JSON:
            typer.echo(json_text(compare_json(sides)))
        case Writing.CSV:
            rows = [[table.title, *row[:3]] for table in tables for row in table.rows]
            typer.echo(csv_text(["table", "row", "a", "b"], rows), nl=False)
        case Writing.MARKDOWN:
            parts = [*map(table_markdown, tables), "\n".join(f"- {sentence}" for sentence in said)]
            typer.echo("\n\n".join(parts))
        case Writing.TABLE:
            out = console()
            for table in tables:
                print_table(out, table)
            lines(out, *said)


def _side(text: str, storage: Path) -> Side:
    reference = parse_reference(text, storage)
    history = read_history(reference.folder)
    fingerprint = history.prepared.fingerprint if history.prepared is not None else None
    return choose_side(text, reference.folder, Sweep.of(history), reference.number, fingerprint)
