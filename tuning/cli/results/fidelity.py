"""The command `fidelity`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.options import Name, OutputFormat, Storage, TableOrJson
from tuning.messages import print_answer


def run_fidelity(
    name: Name,
    format_: Annotated[
        TableOrJson, typer.Option("--format", help="json: every number.")
    ] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Show whether smaller images put trials in the order of images of the model's own size.

    For a sweep with `scheduler.asha.fidelity: resolution`: the rank correlation of each smaller size with
    the model's own, over the trials that have both, and its interval. Where it is low, low rungs stop good
    trials.
    \f
    With `--format json`:

    - `experiment`, `metric`: the name, and the objective's metric
    - `epoch`: at which trials are compared on images of the model's own size: the largest that all of them
      have reached; null if none has
    - `sizes[]`: `image_size` (height, width), `epoch` (the last one with this size), `trials` (with a value
      there), `with_both`, `spearman`, and `interval`, the 95 % bootstrap interval over trials; null where
      there are too few trials, or equal values only
    """
    from analysis.compare.fidelity import fidelity_json, fidelity_of, fidelity_table
    from analysis.query.sweep import Sweep
    from tuning.cli.console import console, print_table
    from tuning.formatting import json_text
    from tuning.ledger.storage import parse_reference, storage_folder

    found = fidelity_of(Sweep.at(parse_reference(name, storage_folder(storage)).folder))
    if format_ is OutputFormat.JSON:
        print_answer(json_text(fidelity_json(found)))
    else:
        print_table(console(), fidelity_table(found))
