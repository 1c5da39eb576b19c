"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from tuning.cli.completion import complete_adapter, complete_experiment, complete_file, complete_trial


class OutputFormat(StrEnum):
    """The formats of every `--format`. A command names those that it takes, as a `Literal` of members."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    PARQUET = "parquet"
    MARKDOWN = "markdown"
    HTML = "html"


TableOrJson = Literal[OutputFormat.TABLE, OutputFormat.JSON]
AnswerFormat = Literal[
    OutputFormat.TABLE, OutputFormat.JSON, OutputFormat.YAML, OutputFormat.CSV, OutputFormat.PARQUET
]
FILE_HELP = "An experiment file, or the name of one that ships with adaptertune (see `adaptertune spaces`)."
NAME_HELP = "The name of an experiment, or the path of its folder."
NAME_OR_TRIAL_HELP = "An experiment, or one of its trials by number."
ADAPTER_HELP = (
    "A trained adapter: NAME:TRIAL; NAME or NAME:best for the best trial, NAME:best:METRIC for the best by"
    " another metric; or a folder that `train` wrote."
)

Storage = Annotated[
    Path | None,
    typer.Option(
        "--storage",
        metavar="DIR",
        help="The folder that holds the experiments. Default: ADAPTERTUNE_STORAGE, else ./experiments.",
    ),
]
File = Annotated[str, typer.Argument(metavar="FILE", help=FILE_HELP, autocompletion=complete_file)]
Name = Annotated[str, typer.Argument(metavar="NAME", help=NAME_HELP, autocompletion=complete_experiment)]
Names = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The name or folder of an experiment; a pattern such as 'pets-*' for several.",
        autocompletion=complete_experiment,
    ),
]
NameOrTrial = Annotated[
    str,
    typer.Argument(
        metavar="NAME[:TRIAL]",
        help=NAME_OR_TRIAL_HELP,
        autocompletion=complete_trial,
    ),
]
Adapter = Annotated[
    str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP, autocompletion=complete_adapter)
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a dotted key of the file; may be repeated."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="The address of an existing Ray cluster: auto or HOST:PORT."),
]
To = Annotated[
    Path | None,
    typer.Option(
        "--to", metavar="FILE", help="Write json, yaml, csv or parquet here, not to standard output."
    ),
]
ThenAblate = Annotated[
    str | None,
    typer.Option(
        "--then-ablate", metavar="PARAM", help="At the end, also print `ablation --by PARAM` (observational)."
    ),
]
