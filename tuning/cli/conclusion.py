"""What a sweep ends with on screen, and how the command line prints tables. Part of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tuning.messages import FAILED, INTERRUPTED, PREEMPTED, say

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.query.sweep import Sweep
    from analysis.ranking.best import Ranking
    from tuning.run.driver import LaunchResult
from tuning.cli.console import failures, print_table


def end(result: LaunchResult, then_ablate: str | None, *, resumed: bool = False) -> None:
    """What a sweep ends with, and its exit code. resumed: whether it had a record before."""
    from tuning.ledger.storage import shell_name

    tried = result.history.trials.values()
    if result.outcome == "interrupted" and not tried:
        kept = (
            f"`adaptertune resume {shell_name(result.folder)}` goes on"
            if resumed
            else f"nothing is kept, and the name {result.folder.name} is free"
        )
        say(f"interrupted before the first trial; {kept}")
        raise typer.Exit(PREEMPTED if resumed and result.preempted else INTERRUPTED)
    conclude(result.folder, then_ablate)
    if result.outcome == "interrupted":
        ended = sum(trial.over for trial in tried)
        scores = len(result.history.scores)
        scored = f", {scores} scored on test images" if scores else ""
        name = shell_name(result.folder)
        say(
            f"interrupted. Kept in {result.folder}: the reports and checkpoints of {len(tried)} trials,"
            f" {ended} of them ended{scored}; `adaptertune resume {name}` goes on,"
            f" `adaptertune best {name}` and `status` read them"
        )
        raise typer.Exit(PREEMPTED if result.preempted else INTERRUPTED)
    if result.no_results:
        say("the run failed: no trial has a value")
        raise typer.Exit(FAILED)


def conclude(folder: Path, ablate: str | None) -> None:
    """The table by adapter, the one under shift, the best configuration, the picture."""
    from analysis.query.sweep import Sweep
    from analysis.ranking.best import finished_first
    from analysis.ranking.by_adapter import adapter_table
    from analysis.sweep_picture import FIGURE, draw_sweep
    from tuning.cli.console import console, lines
    from tuning.ledger.storage import shell_name

    out = console()
    sweep = Sweep.at(folder)
    lines(out, *failures(sweep, folder))
    design = sweep.experiment.ablation
    if design is not None and design.stage == "compare":
        from analysis.ablation.result import result_of
        from tuning.cli.commands.ablate import print_result

        print_result(result_of(sweep), folder)
        return
    ranking = finished_first(sweep)
    if not ranking.ranked:
        return
    print_table(out, adapter_table(sweep))
    if ablate is not None:
        print_levels(out, sweep, ablate, None)
    shifted = bool(sweep.scores and sweep.experiment.data.domains)
    if shifted:
        from analysis.ranking.domains import domain_table

        print_table(out, domain_table(sweep))
    _best(out, sweep, ranking)
    if (picture := draw_sweep(sweep, folder / FIGURE)) is not None:
        lines(out, "", f"picture  {picture}")
    name = shell_name(folder)
    lines(out, f"ranking  adaptertune best {name}", f"alone    adaptertune train --from {name}:best")
    if shifted:
        lines(out, f"shifted  adaptertune domains {name}")


def _best(out: Console, sweep: Sweep, ranking: Ranking) -> None:
    from analysis.ranking.best import best_of
    from analysis.ranking.by_adapter import against_baseline
    from analysis.ranking.test_metrics import scored_value
    from tuning.cli.console import lines

    metric = sweep.objective.metric
    trial, standing = best_of(ranking)
    at = f"{metric} {standing.value:.4f} at epoch {standing.epoch:g} of {trial.epochs:g}"
    lines(out, "", f"best configuration: trial {trial.number}, {at}", style="bold")
    lines(out, f"  {ranking.caption}")
    if verdict := against_baseline(sweep, standing.value):
        lines(out, f"  {verdict}")
    score = ranking.score(trial, standing)
    if score is not None and (value := scored_value(score, metric)) is not None:
        lines(out, f"  the same weights on test images: {metric} {value:.4f}")
    lines(out, *(f"  {key}: {value}" for key, value in trial.params.items()))


def print_levels(out: Console, sweep: Sweep, by: str, at: float | None) -> None:
    """What the sweep's trials say about a setting."""
    from analysis.statistics.levels import level_tables

    for table in level_tables(sweep, by, at):
        print_table(out, table)
