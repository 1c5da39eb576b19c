"""Print messages to the user."""

from __future__ import annotations

from contextlib import suppress

import typer


def say(message: str) -> None:
    """Print a message for the user on stderr; nothing if no one reads it any more."""
    with suppress(BrokenPipeError):
        typer.secho(message, err=True, fg=typer.colors.RED)


def tell(message: str) -> None:
    """Print what is being done, on stderr, so that it does not mix with an answer."""
    with suppress(BrokenPipeError):
        typer.secho(message, err=True, dim=True)
