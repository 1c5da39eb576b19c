"""The command `ablation`."""

from __future__ import annotations

from typing import Annotated

import typer

from trainables.errors import AdaptertuneError
from tuning.cli.ablations.options import On, ResultFormat
from tuning.cli.options import Name, OutputFormat, Storage


def run_ablation(
    name: Name,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="PARAM",
            help="Show what the trials of a sweep suggest about this setting (observational).",
        ),
    ] = None,
    at: Annotated[
        float | None, typer.Option(min=0.0, metavar="EPOCH", help="With --by: compare trials at this epoch.")
    ] = None,
    on: On = None,
    format_: Annotated[
        ResultFormat, typer.Option("--format", help="The format of the result.")
    ] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Show the result of `ablate`; with --by, what the trials of a sweep suggest (observational).

    docs/how-to/ablate.md explains the tables.
    """
    from analysis.query.sweep import Sweep
    from tuning.cli.ablations.result import print_levels, show_result
    from tuning.cli.console import console
    from tuning.ledger.storage import parse_reference, storage_folder

    folder = parse_reference(name, storage_folder(storage)).folder
    if by is None:
        if at is not None:
            raise AdaptertuneError("--at needs --by; in a designed experiment, all runs are equally long")
        show_result(folder, on, format_)
        return
    if on is not None or format_ is not OutputFormat.TABLE:
        raise AdaptertuneError("--on and --format apply to the result of `adaptertune ablate`, not to --by")
    print_levels(console(), Sweep.at(folder), by, at)
