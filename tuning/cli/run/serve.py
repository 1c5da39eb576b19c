"""The command `serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.completion import complete_experiment
from tuning.cli.options import Storage

PORT = 8520


def run_serve(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Experiments, by name or folder, or patterns such as 'pets-*'.",
            autocompletion=complete_experiment,
        ),
    ],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 for any that is free.")
    ] = PORT,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; other machines reach it unless loopback.")
    ] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show the sweeps, and refuse to stop or add anything.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Serve a live page of one or several experiments: curves, trials, failures, costs, and actions.

    It prints an address with a token, for a browser on this machine. The page follows the records and asks
    nothing of the sweeps; Ctrl-C ends the page, and not them. It needs the extra `serve`.

    Examples:

        adaptertune serve nuclei

        adaptertune serve 'pets-*' --port 0 --read-only
    """
    from tuning.cli.live.listening import require_extra, serve_page
    from tuning.cli.live.sweeps import experiments_of
    from tuning.ledger.storage import storage_folder

    require_extra()
    serve_page(experiments_of(names, storage_folder(storage)), host=host, port=port, read_only=read_only)
