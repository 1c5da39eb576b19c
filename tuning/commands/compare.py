"""What `adaptertune compare` does: two experiments or trials side by side."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import typer

from analysis.ablation_result import markdown
from analysis.comparing import Side, compare_json, compare_tables, compared, sentences, side
from analysis.frames import Sweep
from tuning.ablation_words import Writing
from tuning.cli_conclusion import print_table
from tuning.console import console, lines
from tuning.ledger import read_history
from tuning.storage import BEST, refer


def run(one: str, other: str, storage: Path, writing: Writing) -> None:
    """Prints it. Raises StorageError or CompareError for what is not there."""
    sides = compared(_side(one, storage), _side(other, storage))
    tables, said = compare_tables(sides), sentences(sides)
    match writing:
        case Writing.JSON:
            typer.echo(json.dumps(compare_json(sides), indent=2, ensure_ascii=False))
        case Writing.CSV:
            stream = io.StringIO()
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["table", "row", "a", "b"])
            for table in tables:
                writer.writerows([table.title, *row[:3]] for row in table.rows)
            typer.echo(stream.getvalue(), nl=False)
        case Writing.MARKDOWN:
            parts = [*map(markdown, tables), "\n".join(f"- {sentence}" for sentence in said)]
            typer.echo("\n\n".join(parts))
        case Writing.TABLE:
            out = console()
            for table in tables:
                print_table(out, table)
            lines(out, *said)


def _side(text: str, storage: Path) -> Side:
    reference = refer(text, storage)
    history = read_history(reference.folder)
    number = None if reference.trial in (None, BEST) else int(str(reference.trial))
    fingerprint = history.prepared.fingerprint if history.prepared is not None else None
    return side(text, reference.folder, Sweep.of(history), number, fingerprint)
