"""Text of any kind within a shell script."""

from __future__ import annotations


def heredoc(text: str) -> str:
    """A redirection that gives `text` to a command. The shell replaces nothing in it.

    text: whole lines; a last line without its end gets one.
    """
    lines, end = text.removesuffix("\n").split("\n"), "END_OF_TEXT"
    while end in lines:
        end += "_"
    return "\n".join([f"<<'{end}'", *lines, end])
