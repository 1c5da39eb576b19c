"""The command `pareto`."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.ranking.cost import Cost
from tuning.cli.options import Name, OutputFormat, Storage, TableOrJson
from tuning.messages import print_answer


def run_pareto(
    name: Name,
    cost: Annotated[
        Cost | None,
        typer.Option(
            help="The cost to compare quality with: parameters, unless the experiment has several objectives."
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="A recorded metric, instead of the objective.")] = None,
    format_: Annotated[TableOrJson, typer.Option("--format", help="json: every trial.")] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Show the Pareto front: quality against parameters, training time, memory or latency.

    The trials that no other trial equals at a lower cost, the cheapest first, among those that ran to their
    own end. With several objectives, and without `--cost` and `--metric`: the trials that no other trial
    equals in all objectives and beats in one, the best in the first one first.
    \f
    `parameters` are those that train. `latency_ms` is that of a forward pass over one image, with the adapter
    in place as it trained. Once all trials are scored on test images, they are timed in turns, in one process
    on one machine: 7 turns each, of which the table shows the median and the range of the middle 5. It takes
    less than a second for each architecture of a small model. Trials of one architecture are measured once.
    Where the ranges of two trials overlap they count as equally fast, and the front has only the better one.

    With `--format json`:

    - `trials[]`: every trial that takes part: `trial`, `value`, `collapsed`, `cost`, `cost_range` (the
      range of the middle 5 turns of a latency), `front` (whether it is on the front), `params`
    - `floor`: what the best constant predictor reaches on validation images, null where there is none
    - `left_out`: the number of other trials, by outcome
    - the front of several objectives has `objectives` (each with `max` or `min`), `constraints`, and of
      each of `trials[]` the `values` by metric
    """
    from analysis.query.sweep import Sweep
    from analysis.ranking.objectives_front import front_json, front_table, objectives_front
    from analysis.ranking.pareto import pareto, pareto_json, pareto_table
    from tuning.cli.console import console, print_table
    from tuning.formatting import json_text
    from tuning.ledger.storage import parse_reference, storage_folder

    sweep = Sweep.at(parse_reference(name, storage_folder(storage)).folder)
    if sweep.experiment.further and cost is None and metric is None:
        front = objectives_front(sweep)
        if format_ is OutputFormat.JSON:
            print_answer(json_text(front_json(front)))
        else:
            print_table(console(), front_table(front))
        return
    found = pareto(sweep, cost or Cost.PARAMETERS, metric=metric)
    if format_ is OutputFormat.JSON:
        print_answer(json_text(pareto_json(found)))
    else:
        print_table(console(), pareto_table(found))
