"""Writes docs/reference/commands.md from the commands themselves: `python -m docs.generate_commands`.

Each command gives its docstring, and the names, types, defaults and help texts of its parameters. A test
checks that the file is current. This is a script of the repository and no part of the package, because only
who changes a command needs it.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from tuning.cli.app import COMMANDS, command_function, load_command

FILE = Path(__file__).parent / "reference" / "commands.md"

INTRODUCTION = """\
<!-- Written by `python -m docs.generate_commands` from the commands; edit their docstrings instead. -->

# Commands

`adaptertune --help` lists the commands, and `adaptertune COMMAND --help` shows one. `adaptertune --version`
prints the versions of adaptertune and of the main libraries. [Exit codes](exit-codes.md) are the same for
every command.

`adaptertune --install-completion` installs completion for bash, zsh, fish or PowerShell. It completes
commands and options, the names of experiments and their trials (`NAME:3`, `NAME:best`), and the experiment
files that ship with adaptertune.
"""


def command_reference() -> str:
    """The whole file."""
    parts = [INTRODUCTION]
    panels = [(panel, list(group)) for panel, group in groupby(COMMANDS, lambda name: COMMANDS[name].panel)]
    for panel, names in panels:
        rows = "\n".join(f"| [`{name}`](#{name}) | {COMMANDS[name].help} |" for name in names)
        parts.append(f"| {panel} | |\n|---|---|\n{rows}\n")
    for panel, names in panels:
        parts.append(f"## {panel}\n")
        parts += map(_command, names)
    return "\n".join(parts)


def _command(name: str) -> str:
    function = command_function(name)
    help_text, _, more = inspect.cleandoc(function.__doc__ or "").partition("\f")
    summary, *paragraphs = help_text.strip().split("\n\n")
    rows = list(_rows(name, function))
    usage = " ".join(["adaptertune", name, *_usage(function)])
    table = "| argument or option | |\n|---|---|\n" + "\n".join(rows) if rows else ""
    parts = [f"### {name}", summary, f"```sh\n{usage}\n```", *map(_markdown, paragraphs), table]
    parts += map(_markdown, more.strip().split("\n\n"))
    return _linked("\n\n".join(part for part in parts if part)) + "\n"


def _markdown(paragraph: str) -> str:
    """A paragraph of a docstring; indented examples become a block of code."""
    lines = paragraph.split("\n")
    if not all(line.startswith("    ") for line in lines):
        return paragraph
    fence = "```sh" if lines[0].startswith("    adaptertune ") else "```"
    return "\n".join([fence, *(line.removeprefix("    ") for line in lines), "```"])


def _linked(text: str) -> str:
    """Paths of pages, as `docs/how-to/export.md`, become links."""

    def link(match: re.Match[str]) -> str:
        path = Path(os.path.relpath(FILE.parent.parent / match["path"], FILE.parent)).as_posix()
        return f"[{match['path']}]({path})"

    return re.sub(r"docs/(?P<path>[\w/-]+\.md)", link, text)


# --- parameters -------------------------------------------------------------------------------


def _parameters(function: Callable[..., None]) -> Iterator[tuple[inspect.Parameter, Any, Any]]:
    """The parameters, with their types and their Typer arguments or options."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = get_args(hints[name])
        yield parameter, kind, info


def _usage(function: Callable[..., None]) -> Iterator[str]:
    found = list(_parameters(function))
    if any(isinstance(info, OptionInfo) for _, _, info in found):
        yield "[OPTIONS]"
    for parameter, _, info in found:
        if isinstance(info, ArgumentInfo):
            required = parameter.default is inspect.Parameter.empty
            yield str(info.metavar) if required else f"[{info.metavar}]"


def _rows(name: str, function: Callable[..., None]) -> Iterator[str]:
    """A row for each argument, then for each option."""
    options = {parameter.name: parameter.opts for parameter in load_command(name).params}
    found = list(_parameters(function))
    for _, _, info in found:
        if isinstance(info, ArgumentInfo):
            yield _row(f"`{info.metavar}`", str(info.help))
    for parameter, kind, info in found:
        if isinstance(info, OptionInfo):
            value = _value(kind, info)
            default = parameter.default
            texts = [str(info.help)]
            if default is inspect.Parameter.empty:
                texts.append("Required.")
            elif default is not None and default is not False:
                texts.append(f"Default: `{default.value if isinstance(default, Enum) else default}`.")
            yield _row(", ".join(f"`{option}{value}`" for option in options[parameter.name]), " ".join(texts))


def _row(name: str, text: str) -> str:
    return "| " + name.replace("|", "\\|") + " | " + text.replace("|", "\\|") + " |"


def _value(kind: Any, info: OptionInfo) -> str:
    """The value that follows an option; empty for a flag."""
    choices = _choices(kind)
    if kind is bool:
        return ""
    if info.metavar:
        return f" {info.metavar}"
    if choices:
        return f" {'|'.join(choices)}"
    names = {int: "N", float: "NUMBER", str: "TEXT"}
    (base,) = [part for part in (get_args(kind) or (kind,)) if part is not type(None)]
    return f" {names[base]}"


def _choices(kind: Any) -> list[str]:
    members = [part for part in (get_args(kind) or (kind,)) if part is not type(None)]
    if get_origin(kind) is Literal:
        return [str(member.value) for member in members]
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], Enum):
        return [str(member.value) for member in members[0]]
    return []


if __name__ == "__main__":
    FILE.write_text(command_reference(), encoding="utf-8")
