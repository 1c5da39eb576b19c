"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Storage = Annotated[
    Path | None,
    typer.Option(
        "--storage",
        metavar="DIR",
        help="Where experiments live; ADAPTERTUNE_STORAGE, else ./experiments, when absent.",
    ),
]
FILE = "An experiment file, or the name of a shipped one."
NAME = "An experiment's name, or the path of its folder."
TRIAL = "An experiment, or one trial of it by its number."
File = Annotated[str, typer.Argument(metavar="FILE", help=FILE)]
NAMES = "An experiment's name or folder; with * several, as 'pets-*'."
Name = Annotated[str, typer.Argument(metavar="NAME", help=NAME)]
Names = Annotated[str, typer.Argument(metavar="NAME", help=NAMES)]
OneTrial = Annotated[str, typer.Argument(metavar="NAME[:TRIAL]", help=TRIAL)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a dotted key of the file; may be repeated."),
]
WHERE = "Only trials for which this holds, as \"adapter = 'lora' AND lora.rank >= 8\"."


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    PARQUET = "parquet"
