"""The command `importance`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.options import Name, OutputFormat, Storage, TableOrJson
from tuning.messages import print_answer


def run_importance(
    name: Name,
    metric: Annotated[str | None, typer.Option(help="A recorded metric, instead of the objective.")] = None,
    at: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="EPOCH",
            help="Compare trials at this epoch. Default: one that all trials reached.",
        ),
    ] = None,
    format_: Annotated[
        TableOrJson, typer.Option("--format", help="json: every number.")
    ] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Rank the settings of a sweep by importance (PED-ANOVA), with their interactions (observational).

    Which settings separate the best trials from the others, next to what chance alone gives, and which pairs
    of settings act together. The search chose what to try, so this is a hint and no proof; `ablate` gives
    proof. It needs ten trials that have ended.
    \f
    The method is Optuna's conditional PED-ANOVA; see docs/explanation/statistics.md.

    With `--format json`:

    - `settings[]`: `setting`, `share`, `trials`, `p`, `shown` (whether it is more than chance gives)
    - `interactions[]`: `first`, `second`, `trials`, `p`, `gain`, `shown`
    - `epoch`: the epoch at which trials are compared
    - `trials`, `among`: the number of trials that are used, at most 500, and of those with a value
    - `best`: the number of trials that are compared with the others
    - `left_out`: the number of trials without a value at that epoch, or outside the space
    """
    from analysis.query.sweep import Sweep
    from analysis.statistics.importance import (
        importance_json,
        importance_table,
        importances,
        interaction_table,
        interactions,
        no_interaction,
    )
    from tuning.cli.console import console, print_lines, print_table
    from tuning.formatting import json_text
    from tuning.ledger.storage import parse_reference, storage_folder

    sweep = Sweep.at(parse_reference(name, storage_folder(storage)).folder)
    found = importances(sweep, metric=metric, at=at)
    pairs = interactions(sweep, metric=metric, at=at)
    if format_ is OutputFormat.JSON:
        print_answer(json_text(importance_json(found, pairs)))
        return
    print_table(console(), importance_table(found))
    together = interaction_table(found, pairs)
    if together.rows:
        print_table(console(), together)
    elif (none := no_interaction(pairs)) is not None:
        print_lines(console(), none)
