"""The command `ablate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from analysis.ablation.study_names import StudyName
from trainables.wording import plural
from tuning.cli.ablations.options import On
from tuning.cli.completion import complete_trial
from tuning.cli.options import Address, OutputFormat, Storage

if TYPE_CHECKING:
    from analysis.ablation.design import Plan


def run_ablate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:TRIAL]",
            help="An experiment: its best finished trial is the base, or the trial of this number.",
            autocompletion=complete_trial,
        ),
    ],
    over: Annotated[
        str | None, typer.Option(metavar="SETTING", help="The setting to vary, such as lora.rank.")
    ] = None,
    study: Annotated[StudyName | None, typer.Option(help="A predefined ablation, instead of --over.")] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…", help="The values of the setting: 4,8,16; roles of targets: query+value,mlp."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", help="The level that the others are compared with. Default: the one of the base."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="The number of seeds for each level.")] = 5,
    retune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTING",
            help="Tune this setting for each level first, such as learning_rate; may be repeated.",
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(min=2, max=1000, help="With --retune: the number of values to try for each level."),
    ] = 8,
    at_equal_parameters: Annotated[
        bool,
        typer.Option(
            "--at-equal-parameters",
            help="Give each level the rank that matches the base's number of parameters.",
        ),
    ] = False,
    keep_scale: Annotated[
        bool,
        typer.Option("--keep-scale", help="Change alpha with the rank, so that alpha/rank stays the same."),
    ] = False,
    new_name: Annotated[
        str | None,
        typer.Option("--name", help="The name of the new experiment. Default: NAME-ablate-FACTOR."),
    ] = None,
    address: Address = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and train nothing.")] = False,
    on: On = None,
    storage: Storage = None,
) -> None:
    """Run a designed experiment: vary one factor of the best configuration, repeated over seeds.

    Examples:

        adaptertune ablate nuclei --over lora.rank --levels 4,8,16
        adaptertune ablate nuclei --study freezing --dry-run

    All other settings are those of the base trial. The same command continues an ablation that was
    interrupted. docs/how-to/ablate.md explains the design and its options.
    """
    from tuning.cli.ablations.plan import AblateOptions, plan_ablation
    from tuning.cli.ablations.result import show_result
    from tuning.cli.ablations.run_plan import check_begun, run_plan
    from tuning.ledger.storage import parse_reference, storage_folder

    source = parse_reference(name, storage_folder(storage))
    base = source.number
    if source.metric is not None:
        from analysis.ranking.rank_by_sql import best_number

        base = best_number(source.folder, source.metric)
    options = AblateOptions(
        over=over,
        study=study,
        levels=levels,
        reference=reference,
        seeds=seeds,
        retune=tuple(part.strip() for given in retune or [] for part in given.split(",")),
        trials=trials,
        at_equal_parameters=at_equal_parameters,
        keep_scale=keep_scale,
        name=new_name,
    )
    plan = plan_ablation(options, source.folder, base)
    known = check_begun(plan, source.folder.parent)
    print_plan(plan)
    if not dry_run:
        folder = run_plan(plan, known, source.folder.parent, address)
        show_result(folder, on, OutputFormat.TABLE)


def print_plan(plan: Plan) -> None:
    """Print the levels, the number of trials, their cost, and notes on the design."""
    from analysis.ablation.design import warnings_of
    from analysis.ablation.studies import describe_level
    from analysis.tables import Table
    from tuning.cli.console import console, print_lines, print_table
    from tuning.formatting import duration

    spec, base = plan.spec, plan.base
    rows = tuple(
        (level.name + (" (reference)" if level.name == spec.reference else ""), describe_level(level))
        for level in spec.levels
    )
    objective = base.experiment.objective.metric
    value = "" if base.value is None else f", {objective} {base.value:.4f} on validation images"
    seeds = ", ".join(map(str, spec.seeds))
    caption = f"all other settings as in trial {base.trial} of {spec.of}{value}; seeds {seeds}"
    print_table(console(), Table(f"{plan.name}: the plan", (spec.factor, "settings"), rows, caption))
    count = f"{plan.runs} of {plural(base.config.epochs, 'epoch')}, without early stopping by a scheduler"
    if plan.retune:
        count = f"up to {plan.retuning_runs} to retune {', '.join(plan.retune)}, then {count}"
    cost = ""
    if plan.seconds is not None and base.seconds is not None:
        cost = (
            f"about {duration(plan.seconds)} of training in all, one after the other"
            f" (trial {base.trial} took {duration(base.seconds)})"
        )
    print_lines(console(), f"trials  {count}", *((f"time    {cost}",) if cost else ()))
    print_lines(console(), *(f"note    {note}" for note in (*spec.notes, *warnings_of(plan))))
