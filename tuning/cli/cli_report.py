"""The command `report`. Part of the command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainables.errors import StorageError
from tuning.cli.options import Name, Storage

app = typer.Typer()


class Paper(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "markdown"


@app.command()
def report(
    name: Name,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where it goes, made if absent; NAME's own folder `report` when absent."
        ),
    ] = None,
    format_: Annotated[
        Paper,
        typer.Option("--format", help="One page that needs nothing else, or Markdown with figures beside."),
    ] = Paper.HTML,
    storage: Storage = None,
) -> None:
    """Write what an experiment found: best, ablations, importance, costs, figures, on one page."""
    from tuning.ledger.storage import parse_reference, storage_folder

    reference = parse_reference(name, storage_folder(storage))
    if reference.trial is not None:
        raise StorageError("report takes an experiment, not one of its trials")
    from analysis.report.write import write_report

    written = write_report(reference.folder, to, as_markdown=format_ is Paper.MARKDOWN)
    typer.echo(str(written))
