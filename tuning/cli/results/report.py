"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from trainables.errors import StorageError
from tuning.cli.options import Name, OutputFormat, Storage
from tuning.messages import print_answer


def run_report(
    name: Name,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder to write to, created if absent. Default: `report` in the experiment's folder.",
        ),
    ] = None,
    format_: Annotated[
        Literal[OutputFormat.HTML, OutputFormat.MARKDOWN],
        typer.Option("--format", help="html: one page that needs no other file. markdown: with image files."),
    ] = OutputFormat.HTML,
    storage: Storage = None,
) -> None:
    """Write a report of an experiment on one page: best trials, ablations, importance, costs, charts.

    The path of the page is printed. docs/explanation/reports.md describes its sections.
    """
    from analysis.report.write import write_report
    from tuning.ledger.storage import parse_reference, storage_folder

    reference = parse_reference(name, storage_folder(storage))
    if reference.trial is not None:
        raise StorageError("report takes an experiment, not one of its trials")
    written = write_report(reference.folder, to, as_markdown=format_ is OutputFormat.MARKDOWN)
    print_answer(str(written))
