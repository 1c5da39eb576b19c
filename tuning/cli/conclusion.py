"""What a sweep prints at its end, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from analysis.ablation.result import result_of
from analysis.query.floors import Part, collapsed_caption
from analysis.query.sweep import Sweep
from analysis.ranking.best import Ranking, best_of, finished_first
from analysis.ranking.by_adapter import adapter_table, against_baseline
from analysis.ranking.domains import domain_table
from analysis.ranking.scored_metrics import scored_value
from analysis.ranking.weighed import INFEASIBLE
from analysis.sweep_picture import FIGURE, draw_sweep
from trainables.wording import plural
from tuning.cli.ablations.result import print_levels, print_result
from tuning.cli.console import LastingConsole, console, failure_lines, print_lines, print_table
from tuning.cli.search_ended import ended_lines
from tuning.exit_codes import FAILED, INTERRUPTED, PREEMPTED
from tuning.ledger.driver_state import driver_alive
from tuning.ledger.ledger import read_history
from tuning.ledger.lineage import can_be_repeated, schedule_of
from tuning.ledger.outcomes import Ending
from tuning.ledger.storage import shell_name
from tuning.messages import say

if TYPE_CHECKING:
    from tuning.run.driver import LaunchResult


def conclude_sweep(result: LaunchResult, then_ablate: str | None, *, resumed: bool = False) -> None:
    """Print what a sweep has found, and exit with its code. resumed: whether it had been recorded before."""
    tried = result.history.trials.values()
    if result.outcome is Ending.INTERRUPTED and not tried:
        kept = (
            f"`adaptertune resume {shell_name(result.folder)}` continues"
            if resumed
            else f"nothing is kept, and the name {result.folder.name} is free"
        )
        say(f"interrupted before the first trial; {kept}")
        raise typer.Exit(PREEMPTED if result.preempted else INTERRUPTED)
    print_conclusion(result.folder, then_ablate)
    if result.outcome is Ending.INTERRUPTED:
        ended = sum(trial.over for trial in tried)
        scores = len(result.history.scores)
        scored = f", {scores} scored on test images" if scores else ""
        name = shell_name(result.folder)
        say(
            f"interrupted. Kept in {result.folder}: the reports and checkpoints of"
            f" {plural(len(tried), 'trial')},"
            f" {ended} of them ended{scored}; `adaptertune resume {name}` continues,"
            f" `adaptertune best {name}` and `status` show them"
        )
        raise typer.Exit(PREEMPTED if result.preempted else INTERRUPTED)
    if result.no_results:
        say("the run failed: no trial has a value")
        raise typer.Exit(FAILED)


def print_conclusion(folder: Path, then_ablate: str | None) -> None:
    """Print the table by adapter, the one under shift, the best configuration, and the path of the chart."""
    out = console(LastingConsole)
    history = read_history(folder)
    sweep = Sweep.of(history, idle=not driver_alive(folder))
    print_lines(out, *failure_lines(sweep, folder), *ended_lines([history]))
    design = sweep.experiment.ablation
    if design is not None and design.stage.compares:
        print_result(result_of(sweep), folder)
        return
    ranking = finished_first(sweep)
    if not ranking.ranked:
        if INFEASIBLE in ranking.left_out:
            print_lines(out, f"no best configuration: {ranking.caption}")
        return
    print_table(out, adapter_table(sweep))
    if then_ablate is not None:
        print_levels(out, sweep, then_ablate, None)
    shifted = bool(sweep.scores and sweep.experiment.data.domains)
    if shifted:
        print_table(out, domain_table(sweep))
    _print_best(out, sweep, ranking)
    if (chart := draw_sweep(sweep, folder / FIGURE)) is not None:
        print_lines(out, "", f"chart    {chart}")
    name = shell_name(folder)
    print_lines(out, f"ranking  adaptertune best {name}")
    best = best_of(ranking)[0].number
    history = read_history(folder)
    if (parent := history.trials[best].parent) is not None:
        print_lines(out, f"begins   trial {best} {parent.told}")
        print_lines(out, *(f"schedule {line}" for line in schedule_of(history, best)))
    if can_be_repeated(history, best):
        print_lines(out, f"repeat   adaptertune train --from {name}:best")
    if sweep.experiment.further:
        print_lines(out, f"front    adaptertune pareto {name}")
    if shifted:
        print_lines(out, f"shifted  adaptertune domains {name}")


def _print_best(out: Console, sweep: Sweep, ranking: Ranking) -> None:
    metric = sweep.objective.metric
    trial, standing = best_of(ranking)
    at = f"{metric} {standing.value:.4f} at epoch {standing.epoch:g} of {trial.epochs:g}"
    print_lines(out, "", f"best configuration: trial {trial.number}, {at}", style="bold")
    print_lines(out, f"  {ranking.caption}")
    if verdict := against_baseline(sweep, standing.value):
        print_lines(out, f"  {verdict}")
    if standing.collapsed:
        print_lines(out, f"  {collapsed_caption(metric)}")
    score = ranking.score(trial, standing)
    if score is not None and (value := scored_value(score, metric)) is not None:
        floor = sweep.floors.at(metric, Part.TEST)
        at_least = "" if floor is None else f", where a constant predictor reaches {floor:.4f}"
        print_lines(out, f"  the same weights on test images: {metric} {value:.4f}{at_least}")
    print_lines(
        out, *(f"  {key}: {value}{_actual(trial.rates.get(key))}" for key, value in trial.params.items())
    )


def _actual(rate: float | None) -> str:
    """The rate at which a trial trains, where it is not what was drawn."""
    return "" if rate is None else f" (trains at {rate:g})"
