"""The command `spaces`."""

from __future__ import annotations

import typer


def run_spaces() -> None:
    """List the experiment files that ship with adaptertune."""
    from search_spaces.catalog import shipped_experiments

    files = shipped_experiments()
    width = max(len(file.name) for file in files)
    for title, command, searches in (
        ("sweeps", "launch", True),
        ("single configurations", "train", False),
    ):
        typer.echo(f"{title}, for `adaptertune {command} NAME`")
        for file in files:
            if file.searches is searches:
                typer.echo(f"  {file.name:{width}s}  {file.headline}")
