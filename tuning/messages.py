"""Messages to the user, and the exit codes of the command."""

from __future__ import annotations

import typer

USER_ERROR, FAILED, INTERNAL_ERROR, PREEMPTED, INTERRUPTED = 2, 1, 70, 75, 130


def say(message: str) -> None:
    """A message for the user, on stderr."""
    typer.secho(message, err=True, fg=typer.colors.RED)
