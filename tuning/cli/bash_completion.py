"""Completion of words with a colon, such as NAME:TRIAL, in bash.

bash splits a word at colons and equals signs (COMP_WORDBREAKS) and replaces only the part after the last one.
So the parts are joined before Typer reads them, and the text up to the last colon is cut off the answers.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, MutableMapping
from contextlib import redirect_stdout

VARIABLE = "_ADAPTERTUNE_COMPLETE"
"""The script that `--install-completion` writes sets it to `complete_bash`."""


def answer_completion(command: Callable[[], object]) -> None:
    """Run `command`, which answers a request for completion, and correct what bash does to words."""
    head = join_words(os.environ)
    out = io.StringIO()
    try:
        with redirect_stdout(out):
            command()
    finally:
        for line in out.getvalue().splitlines():
            print(line.removeprefix(head))


def join_words(environment: MutableMapping[str, str]) -> str:
    """Join the parts of words in COMP_WORDS; returns the part of the current word that bash keeps.

    For another shell nothing is changed.
    """
    words = environment.get("COMP_WORDS", "").split("\n")
    index = environment.get("COMP_CWORD", "")
    if environment.get(VARIABLE) != "complete_bash" or not index.isdecimal() or int(index) >= len(words):
        return ""
    joined: list[str] = []
    glue = False
    for word in words[: int(index) + 1]:
        splits = word == ":" or (word == "=" and bool(joined) and joined[-1].startswith("--"))
        if joined and (glue or splits):
            joined[-1] += word
        else:
            joined.append(word)
        glue = splits
    environment["COMP_WORDS"] = "\n".join(joined)
    environment["COMP_CWORD"] = str(len(joined) - 1)
    last = "" if glue else words[int(index)]
    kept = joined[-1].removesuffix(last)
    return kept.partition("=")[2] if kept.startswith("--") else kept
