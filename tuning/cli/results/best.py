"""The command `best`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import AnswerFormat, Names, OutputFormat, Storage, To
from tuning.messages import say

if TYPE_CHECKING:
    from analysis.query.sql import Source
    from analysis.ranking.best import Ranking


def run_best(
    name: Names,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="The number of trials to show.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL",
            help="Only trials that meet this condition, such as \"adapter = 'lora' AND lora.rank >= 8\".",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", "--by", help="A recorded metric, instead of the (first) objective."),
    ] = None,
    at: Annotated[
        float | None, typer.Option(min=0.0, metavar="EPOCH", help="Rank all trials at this epoch.")
    ] = None,
    early_stopped: Annotated[
        bool,
        typer.Option("--early-stopped", help="Include trials that were stopped early or are still running."),
    ] = False,
    format_: Annotated[
        AnswerFormat, typer.Option("--format", help="yaml: the best trial as an experiment file for `train`.")
    ] = OutputFormat.TABLE,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Rank the trials of one or several experiments.

    The caption of the table states the rule: on which images, by which report of a trial, and which trials
    take part. By default these are the trials that ran to their own end. With several objectives it names the
    front, and trials that break a constraint are left out.
    """
    from analysis.query.sql import opened
    from analysis.ranking.best import best_of
    from analysis.ranking.best_table import best_json, best_rows, best_table
    from analysis.ranking.rank_by_sql import rank_by_sql
    from tuning.cli.answers import check_target, write_rows, write_text
    from tuning.cli.console import console, print_lines, print_table
    from tuning.formatting import json_text
    from tuning.ledger.storage import find_experiments, storage_folder

    check_target(format_, to)
    with opened(find_experiments(name, storage_folder(storage)), tell=say) as source:
        ranking = rank_by_sql(
            source,
            top,
            metric=metric,
            where=where,
            at=at,
            early_stopped=early_stopped,
            reports=format_ not in (OutputFormat.TABLE, OutputFormat.YAML),
        )
        match format_:
            case OutputFormat.JSON:
                write_text(json_text(best_json(ranking, top)) + "\n", to)
            case OutputFormat.YAML:
                write_text(_best_as_yaml(source, ranking), to)
            case OutputFormat.CSV | OutputFormat.PARQUET:
                best_of(ranking)
                rows = best_rows(ranking, top)
                columns = list(dict.fromkeys(column for row in rows for column in row))
                write_rows(columns, [[row.get(c) for c in columns] for row in rows], format_, to)
            case OutputFormat.TABLE:
                best_of(ranking)
                print_table(console(), best_table(ranking, top))
                print_lines(console(), *_search_ended(source), *_confirmed(source))


def _search_ended(source: Source) -> list[str]:
    """Why the searches proposed nothing more, of those that may end before their number of trials."""
    from tuning.cli.search_ended import ended_lines
    from tuning.ledger.ledger import read_history

    able = [each for each in source.experiments if each.experiment.search.may_end]
    return ended_lines([read_history(each.folder) for each in able], named=len(source.experiments) > 1)


def _confirmed(source: Source) -> list[str]:
    """What `adaptertune confirm` found for the experiments: the best trial of a search may be a lucky one."""
    from tuning.experiment.sections.confirm import confirm_name
    from tuning.ledger.ledger import LEDGER
    from tuning.ledger.storage import shell_name

    lines = []
    for recorded in source.experiments:
        folder = recorded.folder.absolute()
        to = folder.with_name(confirm_name(folder.name))
        if not (to / LEDGER).exists():
            continue
        from analysis.ablation.confirmed import confirmation_of  # numpy

        if (found := confirmation_of(folder)) is not None:
            lines.append(f"confirmed  {found.answer} (adaptertune ablation {shell_name(to)})")
    return lines


def _best_as_yaml(source: Source, ranking: Ranking) -> str:
    from analysis.ranking.best import best_of
    from tuning.experiment.write import experiment_yaml  # ruamel.yaml

    trial, standing = best_of(ranking)
    value = f"{ranking.objective.metric} {standing.value:.4f}"
    experiment = source.recorded(trial.sweep).experiment
    header = f"# {trial.sweep}, trial {trial.number}: {value}\n# {ranking.caption}\n"
    return header + experiment_yaml(experiment, trial.params)
