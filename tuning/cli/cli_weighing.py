"""Commands that weigh settings and costs: importance and pareto. Part of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.ranking.cost import Cost
from tuning.cli.cli_trained import Form
from tuning.cli.console import print_table
from tuning.cli.options import Name, Storage
from tuning.formatting import json_text

if TYPE_CHECKING:
    from analysis.query.sweep import Sweep

app = typer.Typer()

Metric = Annotated[str | None, typer.Option(help="Another recorded figure than the objective.")]
Written = Annotated[Form, typer.Option("--format", help="json: every figure.")]


@app.command()
def importance(
    name: Name,
    metric: Metric = None,
    at: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="EPOCH", help="At this budget; when absent, what all reached."),
    ] = None,
    format_: Written = Form.TABLE,
    storage: Storage = None,
) -> None:
    """Weigh the settings of a sweep by PED-ANOVA, and show which act together (observational)."""
    from analysis.statistics.importance import (
        importance_json,
        importance_table,
        importances,
        interaction_table,
        interactions,
        no_interaction,
    )
    from tuning.cli.console import console

    sweep = _sweep(name, storage)
    found = importances(sweep, metric=metric, at=at)
    pairs = interactions(sweep, metric=metric, at=at)
    if format_ is Form.JSON:
        typer.echo(json_text(importance_json(found, pairs)))
        return
    print_table(console(), importance_table(found))
    together = interaction_table(found, pairs)
    if together.rows:
        print_table(console(), together)
    elif (none := no_interaction(pairs)) is not None:
        console().print(none)


@app.command()
def pareto(
    name: Name,
    cost: Annotated[Cost, typer.Option(help="What quality is held against.")] = Cost.PARAMETERS,
    metric: Metric = None,
    format_: Written = Form.TABLE,
    storage: Storage = None,
) -> None:
    """Show the trials that no other equals for less: quality against parameters, time, memory or latency."""
    from analysis.ranking.pareto import pareto as weighed
    from analysis.ranking.pareto import pareto_json, pareto_table
    from tuning.cli.console import console

    found = weighed(_sweep(name, storage), cost, metric=metric)
    if format_ is Form.JSON:
        typer.echo(json_text(pareto_json(found)))
    else:
        print_table(console(), pareto_table(found))


def _sweep(name: str, storage: Path | None) -> Sweep:
    from analysis.query.sweep import Sweep
    from tuning.ledger.storage import parse_reference, storage_folder

    return Sweep.at(parse_reference(name, storage_folder(storage)).folder)
