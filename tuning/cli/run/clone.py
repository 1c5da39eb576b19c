"""The command `clone`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.cli.completion import complete_trial
from tuning.cli.options import Storage
from tuning.cli.run.add import request_addition
from tuning.messages import print_answer


def run_clone(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="NAME:TRIAL",
            help="A trial by number, or NAME:best[:METRIC].",
            autocompletion=complete_trial,
        ),
    ],
    given: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="What is different in the copy; may be repeated."),
    ],
    warm: Annotated[
        bool, typer.Option("--warm", help="Begin with the trial's best weights, instead of from the start.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Add a changed copy of a trial to an experiment, as one more trial.

    It trains under the configuration of the trial with your changes; parameters that no longer apply are
    left out. Otherwise it is like `adaptertune add`. With `--warm`, the trial must have ended, and what is
    changed must be how it trains (rates, loss, batches, images), not which weights there are.

    Examples:

        adaptertune clone nuclei:7 --set learning_rate=1e-4

        adaptertune clone nuclei:best --set lora.rank=16

        adaptertune clone nuclei:best --warm --set learning_rate=1e-4
    """
    from tuning.cli.run.named_trial import named_trial
    from tuning.ledger.steering import known_trial

    folder, number, history = named_trial(trial, storage, "clone")
    params = known_trial(history, number).params
    print_answer(request_addition(folder, given, base=params, of=number, warm=warm))
