"""The command `domains`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.options import Name, OutputFormat, Storage, TableOrJson
from tuning.messages import print_answer


def run_domains(
    name: Name,
    metric: Annotated[
        str | None, typer.Option(help="Another metric than the objective's, such as iou or dice/cat.")
    ] = None,
    format_: Annotated[
        TableOrJson, typer.Option("--format", help="json: every metric, with the relative robustness.")
    ] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Show test metrics of the best trials, in domain and under shift, for each adapter.

    One row for each adapter and freezing mode: its scored trial that is best on validation images, among
    those that ran to their own end if there are any. One more row for the pretrained baseline, if the
    pretrained model has a head for the classes, and one for the floor: what the best constant predictor
    reaches on the same images. In brackets: the relative robustness (shifted ÷ in domain, each minus its
    floor), and `collapsed` where a model is no better than a constant predictor.
    \f
    The metrics are those that a sweep has recorded (`scoring` in docs/reference/experiment-file.md), in
    domain and in each of `data.domains`. The metric is that of the objective without its domain (`dice/cat`
    for `dice/cat@stained`), the task's main one for an objective on robustness. Records of earlier versions
    have no floors; their shares are of the metrics as they are.

    With `--format json`:

    - `experiment`, `metric`, `main`, `domains`: the name, the metric of the table, the task's main metric,
      the domains in the order of the file
    - `definitions`: what `dice`, `iou`, `coco`, `robustness` and `fingerprint` mean in this experiment
    - `floors`: by images (`test`, `test@NAME`, …), then by metric; empty in records of earlier versions
    - `measured_on`, `picked_on`, `picked_by`: `test`, `validation`, and the metric that chose the trials
    - `rows[].adapter`, `.freezing`, `.trial`, `.epoch`: the weights; null for the pretrained baseline, which
      has `untouched` true
    - `rows[].outcome`, `.ran_epochs`, `.of_epochs`: how far the trial ran; a trial that was stopped
      represents its kind only if no other ran to its own end
    - `rows[].validation`: its value of `picked_by` on validation images
    - `rows[].metrics`, `rows[].domains.NAME`: every metric on test images, and in a domain
    - `rows[].robustness.NAME`: the relative robustness, by `main`; `rows[].relative.NAME`: by `metric`
    - `rows[].above_floor`: the 95 % interval of a metric minus its floor, by the metric (`dice@NAME` in a
      domain). For AP and AR only its sign is meant: low is 0 if collapsed, else the least positive
      number; high is 1
    - `rows[].collapsed`: whether it does not lie above 0
    - `failed[]`: `trial` and `reason` of trials that could not be scored
    """
    from analysis.query.sweep import Sweep
    from analysis.ranking.domains import domain_json, domain_table
    from tuning.cli.console import console, print_table
    from tuning.formatting import json_text
    from tuning.ledger.storage import parse_reference, storage_folder

    sweep = Sweep.at(parse_reference(name, storage_folder(storage)).folder)
    if format_ is OutputFormat.JSON:
        print_answer(json_text(domain_json(sweep, metric)))
    else:
        print_table(console(), domain_table(sweep, metric))
