"""The command `confirm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Address, Name, OutputFormat, Storage

if TYPE_CHECKING:
    from analysis.ablation.confirm import ConfirmPlan


def run_confirm(
    name: Name,
    trials: Annotated[
        int, typer.Option(min=1, max=100, help="How many of the best finished trials are repeated.")
    ] = 3,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="The number of new seeds for each.")] = 5,
    new_name: Annotated[
        str | None, typer.Option("--name", help="The name of the new experiment. Default: NAME-confirm.")
    ] = None,
    address: Address = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and train nothing.")] = False,
    storage: Storage = None,
) -> None:
    """Repeat the best trials of a search over new seeds, and say which of them to take.

    Examples:

        adaptertune confirm nuclei
        adaptertune confirm nuclei --trials 5 --seeds 10 --dry-run

    Every trial is repeated at full budget with the same seeds, which no trial of the search had, and
    compared on test images. The same command continues one that was interrupted. docs/how-to/confirm.md
    explains the answer.
    """
    from analysis.ablation.confirm import confirm_experiment, default_name, plan_confirm
    from analysis.query.sweep import Sweep
    from tuning.cli.ablations.plan import begun_experiment
    from tuning.cli.ablations.result import show_result
    from tuning.cli.ablations.run_plan import refuse_other_seeds, run_to_end
    from tuning.ledger.storage import find_experiment, storage_folder

    folder = find_experiment(name, storage_folder(storage)).absolute()
    sweep, storage_ = Sweep.at(folder), folder.parent
    to = storage_ / (new_name or default_name(sweep.name))
    begun = begun_experiment(to)
    plan = plan_confirm(
        sweep, trials=trials, seeds=seeds, name=new_name, begun=begun.ablation if begun is not None else None
    )
    experiment = confirm_experiment(plan)
    if begun is not None:
        refuse_other_seeds(begun, experiment, to)
    print_plan(plan)
    if not dry_run:
        show_result(run_to_end(experiment, storage_, address), None, OutputFormat.TABLE)


def print_plan(plan: ConfirmPlan) -> None:
    """Print the trials that are repeated, the number of runs, and what they take."""
    from analysis.ablation.design import level_name
    from analysis.tables import Table, format_metric
    from tuning.cli.console import console, print_lines, print_table
    from tuning.formatting import duration

    spec, metric = plan.spec, plan.sweep.objective.metric
    rows = tuple(
        (
            level.name,
            "–" if level.value is None else format_metric(level.value),
            "  ".join(f"{name}={level_name(value)}" for name, value in level.settings.items()),
        )
        for level in spec.levels
    )
    seeds = ", ".join(map(str, spec.seeds))
    caption = f"all other settings as in {spec.of}, without early stopping by a scheduler; seeds {seeds}"
    columns = ("trial", f"validation {metric}, search", "settings")
    print_table(console(), Table(f"{plan.name}: the plan", columns, rows, caption))
    print_lines(console(), f"trials  {plan.runs}")
    if plan.seconds is not None:
        print_lines(
            console(), f"time    about {duration(plan.seconds)} of training in all, one after the other"
        )
    print_lines(console(), *(f"note    {note}" for note in spec.notes))
