"""Commands for designed experiments: ablate, ablation, compare. Part of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.ablation.names import Images, StudyName, Writing
from trainables.errors import AdaptertuneError
from tuning.cli.options import Name, Storage

app = typer.Typer()

On = Annotated[
    Images | None,
    typer.Option("--on", help="Images to compare on: test where runs were scored there, else validation."),
]
Written = Annotated[Writing, typer.Option("--format", help="How the result is written.")]


@app.command()
def ablate(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[:TRIAL]", help="An experiment; its best finished trial, or this one."),
    ],
    over: Annotated[
        str | None, typer.Option(metavar="SETTING", help="The one setting to vary, as lora.rank.")
    ] = None,
    study: Annotated[StudyName | None, typer.Option(help="A ready ablation in place of --over.")] = None,
    levels: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Its values, as 4,8,16; roles of targets as query+value,mlp."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="What the others are compared with; the base's own.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds that each level is repeated over.")] = 5,
    retune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTING", help="Choose this for each level first, as learning_rate; may be repeated."
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=2, max=1000, help="Values of the retuned settings to try at each level.")
    ] = 8,
    at_equal_parameters: Annotated[
        bool,
        typer.Option("--at-equal-parameters", help="Each level at the rank that matches the base's size."),
    ] = False,
    keep_scale: Annotated[
        bool, typer.Option("--keep-scale", help="alpha moves with the rank, so that alpha/rank stays.")
    ] = False,
    called: Annotated[
        str | None, typer.Option("--name", help="Of the new experiment; NAME-ablate-FACTOR when absent.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="An existing Ray cluster's address.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and train nothing.")] = False,
    on: On = None,
    storage: Storage = None,
) -> None:
    """Run a designed experiment: one factor, all else as the best configuration, repeated over seeds."""
    from tuning.cli.commands import ablate as commands_ablate
    from tuning.ledger.storage import parse_reference, storage_folder

    source = parse_reference(name, storage_folder(storage))
    asked = commands_ablate.Asked(
        over=over,
        study=study,
        levels=levels,
        reference=reference,
        seeds=seeds,
        retune=tuple(part.strip() for given in retune or [] for part in given.split(",")),
        trials=trials,
        equal=at_equal_parameters,
        keep_scale=keep_scale,
        name=called,
    )
    planned = commands_ablate.plan(asked, source.folder, source.number)
    known = commands_ablate.check(planned, source.folder.parent)
    commands_ablate.show_plan(planned)
    if not dry_run:
        folder = commands_ablate.run(planned, known, source.folder.parent, address)
        commands_ablate.show_result(folder, on, Writing.TABLE)


@app.command()
def ablation(
    name: Name,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="PARAM",
            help="What a sweep's own trials say about a setting, as lora.rank (observational).",
        ),
    ] = None,
    at: Annotated[
        float | None, typer.Option(min=0.0, metavar="EPOCH", help="With --by: compare at this epoch only.")
    ] = None,
    on: On = None,
    format_: Written = Writing.TABLE,
    storage: Storage = None,
) -> None:
    """Show what `ablate` has found; with --by what a sweep's own trials say (observational)."""
    from tuning.ledger.storage import parse_reference, storage_folder

    folder = parse_reference(name, storage_folder(storage)).folder
    if by is None:
        if at is not None:
            raise AdaptertuneError("--at goes with --by; a designed experiment runs all to the same end")
        from tuning.cli.commands import ablate as commands_ablate

        commands_ablate.show_result(folder, on, format_)
        return
    if on is not None or format_ is not Writing.TABLE:
        raise AdaptertuneError("--on and --format go with the result of `adaptertune ablate`, not with --by")
    from analysis.query.sweep import Sweep
    from tuning.cli.conclusion import print_levels
    from tuning.cli.console import console

    print_levels(console(), Sweep.at(folder), by, at)


@app.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="An experiment, or NAME:TRIAL.")],
    other: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    format_: Annotated[Writing, typer.Option("--format", help="How it is written.")] = Writing.TABLE,
    storage: Storage = None,
) -> None:
    """Put two experiments, or two trials, side by side: what differs, and what came of it."""
    from tuning.cli.commands import compare as commands_compare
    from tuning.ledger.storage import storage_folder

    commands_compare.run(one, other, storage_folder(storage), format_)
