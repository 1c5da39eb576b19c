"""Options that several commands for ablations share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from analysis.ablation.study_names import Images
from tuning.cli.options import OutputFormat

ResultFormat = Literal[OutputFormat.TABLE, OutputFormat.JSON, OutputFormat.CSV, OutputFormat.MARKDOWN]
On = Annotated[
    Images | None,
    typer.Option(
        "--on",
        help="The images to compare on. Default: test if the runs were scored there, else validation.",
    ),
]
