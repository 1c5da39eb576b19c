"""The command `spaces`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.completion import complete_shipped
from tuning.messages import print_answer


def run_spaces(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Print this file instead of the list.", autocompletion=complete_shipped
        ),
    ] = None,
) -> None:
    """List the experiment files that ship, or print one of them.

    Examples:

        adaptertune spaces
        adaptertune spaces mask_folder > mine.yaml    # a file of your own to start from
    """
    from search_spaces.catalog import find_shipped, shipped_experiments
    from tuning.experiment.load import unknown_file

    if name is not None:
        if (path := find_shipped(name)) is None:
            raise unknown_file(f"no experiment file that ships is called {name}", name)
        print_answer(path.read_text(encoding="utf-8"), nl=False)
        return
    files = shipped_experiments()
    width = max(len(file.name) for file in files)
    for title, command, searches in (
        ("sweeps", "launch", True),
        ("single configurations", "train", False),
    ):
        print_answer(f"{title}, for `adaptertune {command} NAME`")
        for file in files:
            if file.searches is searches:
                print_answer(f"  {file.name:{width}s}  {file.headline}")
    print_answer("`adaptertune spaces NAME` prints a file")
