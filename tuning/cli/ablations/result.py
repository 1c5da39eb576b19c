"""Prints the result of a designed experiment, and what the trials of a sweep suggest about a setting."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from analysis.ablation.answers import (
    all_sentences,
    result_csv,
    result_json,
    result_markdown,
    shown_tables,
)
from analysis.ablation.result import (
    AblationResult,
    result_of,
)
from analysis.ablation.study_names import Images
from analysis.query.sweep import Sweep
from analysis.statistics.levels import level_tables
from tuning.cli.ablations.options import ResultFormat
from tuning.cli.console import console, print_lines, print_table
from tuning.cli.options import OutputFormat
from tuning.formatting import json_text
from tuning.ledger.storage import shell_name
from tuning.messages import print_answer


def show_result(folder: Path, images: Images | None, format_: ResultFormat) -> None:
    """Print the result of a designed experiment. Raises AblationError if `folder` holds none."""
    result = result_of(Sweep.at(folder), images)
    match format_:
        case OutputFormat.JSON:
            print_answer(json_text(result_json(result, folder)))
        case OutputFormat.CSV:
            print_answer(result_csv(result), nl=False)
        case OutputFormat.MARKDOWN:
            print_answer(result_markdown(result, folder), nl=False)
        case OutputFormat.TABLE:
            print_result(result, folder)


def print_result(result: AblationResult, folder: Path) -> None:
    """Print the tables of a result and their summary in sentences."""
    out = console()
    for table in shown_tables(result):
        print_table(out, table)
    print_lines(out, *all_sentences(result, folder))
    lost = sum(run.outcome in ("failed", "diverged") for run in result.runs)
    if lost:
        retry = f"`adaptertune resume {shell_name(folder)} --retry-failed` runs the failed ones again"
        print_lines(out, f"{lost} failed or diverged; {retry}")


def print_levels(out: Console, sweep: Sweep, by: str, at: float | None) -> None:
    """Print what the trials of a sweep suggest about a setting."""
    for table in level_tables(sweep, by, at):
        print_table(out, table)
