"""Print messages to the user."""

from __future__ import annotations

import typer


def say(message: str) -> None:
    """Print a message for the user on stderr."""
    typer.secho(message, err=True, fg=typer.colors.RED)
