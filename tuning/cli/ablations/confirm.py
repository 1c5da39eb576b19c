"""The command `confirm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Address, Name, OutputFormat, Storage

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.ablation.confirm import ConfirmPlan
    from tuning.experiment.spec import Experiment


def run_confirm(
    name: Name,
    trials: Annotated[
        int, typer.Option(min=1, max=100, help="How many of the best finished trials are repeated.")
    ] = 3,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="The number of new seeds for each. Default: 5.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, max=1000, help="In place of seeds: the folds of a cross-validation."),
    ] = None,
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
        adaptertune confirm nuclei --folds 5

    Every trial is repeated at full budget with the same seeds, which no trial of the search had, and
    compared on test images. With --folds it is trained once without each fold of the images that are left
    after test, and judged on that fold. The same command continues one that was interrupted.
    docs/how-to/confirm.md explains the answer.
    """
    from tuning.ledger.storage import find_experiment, storage_folder

    folder = find_experiment(name, storage_folder(storage)).absolute()
    confirm_best(
        folder, trials=trials, seeds=seeds, folds=folds, name=new_name, address=address, dry_run=dry_run
    )


def confirm_best(
    folder: Path,
    *,
    trials: int,
    seeds: int | None = None,
    folds: int | None = None,
    name: str | None = None,
    address: str | None = None,
    dry_run: bool = False,
) -> None:
    """Repeat the best trials of the experiment in `folder`, and print which of them to take.

    Continues what has begun. Exits where it is interrupted or fails; raises AblationError or StorageError
    before anything trains.
    """
    from analysis.ablation.confirm import confirm_experiment, plan_confirm
    from analysis.ablation.design import AblationError
    from analysis.query.sweep import Sweep
    from tuning.cli.ablations.plan import begun_experiment
    from tuning.cli.ablations.result import show_result
    from tuning.cli.ablations.run_plan import refuse_other_seeds, run_to_end
    from tuning.experiment.sections.confirm import BOTH, USUAL_SEEDS, confirm_name

    if seeds is not None and folds is not None:
        raise AblationError(f"confirm {BOTH}")
    sweep, storage = Sweep.at(folder), folder.parent
    to = storage / (name or confirm_name(sweep.name))
    begun = begun_experiment(to)
    plan = plan_confirm(
        sweep,
        trials=trials,
        seeds=seeds or USUAL_SEEDS,
        folds=folds,
        name=name,
        begun=begun.ablation if begun is not None else None,
    )
    experiment = confirm_experiment(plan)
    if begun is not None:
        refuse_other_seeds(begun, experiment, to)
    print_plan(plan)
    if not dry_run:
        show_result(run_to_end(experiment, storage, address), None, OutputFormat.TABLE)


def confirm_as_asked(folder: Path, address: str | None) -> None:
    """Do what the `confirm` section of a finished experiment asks for, if it has one."""
    from tuning.ledger.header import experiment_of
    from tuning.ledger.ledger import read_header

    asked = experiment_of(read_header(folder)).confirm
    if asked is not None:
        confirm_best(
            folder.absolute(), trials=asked.trials, seeds=asked.seeds, folds=asked.folds, address=address
        )


def require_free_name(experiment: Experiment, storage: Path) -> None:
    """Raise StorageError, before anything trains, if what `confirm` would write is there already."""
    from trainables.errors import StorageError
    from tuning.experiment.sections.confirm import confirm_name
    from tuning.ledger.ledger import LEDGER
    from tuning.ledger.storage import shell_name

    to = (storage / confirm_name(experiment.name)).absolute()
    if experiment.confirm is not None and (to / LEDGER).exists():
        raise StorageError(
            f"confirm: an experiment {to.name} already exists; launch under another --name, or remove {to}"
            f" (`adaptertune ablation {shell_name(to)}` shows it)"
        )


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
    over = "" if spec.folds is None else f"{spec.folds} folds, "
    caption = (
        f"all other settings as in {spec.of}, without early stopping by a scheduler; {over}seeds {seeds}"
    )
    columns = ("trial", f"validation {metric}, search", "settings")
    print_table(console(), Table(f"{plan.name}: the plan", columns, rows, caption))
    print_lines(console(), f"trials  {plan.runs}")
    if plan.seconds is not None:
        print_lines(
            console(), f"time    about {duration(plan.seconds)} of training in all, one after the other"
        )
    print_lines(console(), *(f"note    {note}" for note in spec.notes))
