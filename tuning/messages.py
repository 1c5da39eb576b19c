"""Print messages to the user."""

from __future__ import annotations

import sys
from contextlib import suppress

import typer

from trainables.wording import without_controls


def say(message: str) -> None:
    """Print a message for the user on stderr; nothing if no one reads it any more."""
    with suppress(BrokenPipeError):
        typer.secho(without_controls(message), err=True, fg=typer.colors.RED)


def tell(message: str) -> None:
    """Print what is being done, on stderr, so that it does not mix with an answer."""
    with suppress(BrokenPipeError):
        typer.secho(without_controls(message), err=True, dim=True)


def print_answer(text: str, *, nl: bool = True) -> None:
    """Print an answer on stdout, as it is for a program, without control characters for a terminal.

    nl: whether a line feed follows.
    """
    typer.echo(without_controls(text) if sys.stdout.isatty() else text, nl=nl)
