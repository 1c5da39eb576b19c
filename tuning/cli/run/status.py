"""The command `status`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tuning.cli.options import Name, Storage

UNKNOWN = (
    "whether its driver runs cannot be seen from here: its heartbeat does not change. Somebody who can write"
    " to the folder, or is on its machine, can tell"
)


def run_status(
    name: Name,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update the table until the experiment ends.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Show the progress of an experiment: trials by state, running trials, the best so far, failures."""
    from analysis.query.sweep import Sweep
    from tuning.cli.console import console, failure_lines, print_lines
    from tuning.cli.data_summary import error_count, error_lines
    from tuning.cli.run.recorded_board import read_board
    from tuning.ledger.ledger import LEDGER
    from tuning.ledger.storage import parse_reference, storage_folder

    folder = parse_reference(name, storage_folder(storage)).folder
    out = console()
    while True:
        board = read_board(folder)
        out.print(board.view(time.time()))
        if not watch or not board.alive or board.closed is not None:
            break
        time.sleep(2.0)
        if out.is_terminal:
            out.clear()
    if board.state == "died":
        print_lines(out, "the driver died; everything that it had recorded is kept", style="yellow")
    if board.state == "unknown":
        print_lines(out, UNKNOWN, style="yellow")
    if board.prepared is not None and board.prepared.found:
        print_lines(out, f"data.folder: {board.prepared.found}")
    errors = board.prepared.faults if board.prepared is not None else []
    if errors:
        print_lines(out, f"data: {error_count(errors)}", *error_lines(errors, f"see {folder / LEDGER}"))
    for text in board.prepared.warnings if board.prepared is not None else []:
        print_lines(out, f"warning: {text}", style="yellow")
    print_lines(out, *failure_lines(Sweep.at(folder), folder, most=50))
