"""The command line, the only module that sees everything.

Commands that only read import neither torch nor ray, and what is heavy is imported where it is used:
`--help` must not wait for a database.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command_name

from trainables.errors import AdaptertuneError, StorageError
from tuning.cli import cli_ablate, cli_questions, cli_report, cli_trained, cli_weighing
from tuning.cli.console import failures, print_table
from tuning.cli.errors import Guarded
from tuning.cli.options import File, Name, OneTrial, Sets, Storage
from tuning.formatting import json_text

if TYPE_CHECKING:
    from pydantic import JsonValue

    from analysis.query.sweep import Sweep
    from tuning.cli.board import Board
    from tuning.experiment.spec import Experiment

app = typer.Typer(
    name="adaptertune",
    cls=Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find the adapter that suits a vision transformer: sweeps on Ray, from one YAML file.",
)

# --- experiment files -------------------------------------------------------------------------


@app.command()
def validate(file: File, set_: Sets = None) -> None:
    """Check an experiment file; all its faults at once."""
    from tuning.cli.board import trials_asked
    from tuning.experiment.load import load_experiment

    experiment = load_experiment(file, set_ or [])
    size, trials = experiment.space.size(), trials_asked(experiment)
    searched = (
        f"{len(experiment.space.names)} parameters"
        f" ({'endless' if size is None else f'{size:,}'} configurations),"
        f" {'an open number of' if trials is None else trials} trials"
        if experiment.space
        else "one configuration"
    )
    typer.echo(
        f"{file}: sound. {experiment.task} with {experiment.model.name}, {searched}"
        f" of at most {experiment.max_epochs} epochs"
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for completion in an editor."""
    from tuning.experiment.json_schema import experiment_schema

    typer.echo(json.dumps(experiment_schema(), indent=2))


@app.command()
def spaces() -> None:
    """List the experiment files that ship with adaptertune."""
    from search_spaces.catalog import shipped_experiments

    files = shipped_experiments()
    width = max(len(file.name) for file in files)
    for title, command, searches in (
        ("sweeps", "launch", True),
        ("single configurations", "train", False),
    ):
        typer.echo(f"{title}, for `adaptertune {command} NAME`")
        for file in files:
            if file.searches is searches:
                typer.echo(f"  {file.name:{width}s}  {file.headline}")


# --- running ----------------------------------------------------------------------------------


@app.command()
def launch(
    file: File,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, in place of the file's number.")] = None,
    name: Annotated[str | None, typer.Option(help="A name, in place of the file's.")] = None,
    set_: Sets = None,
    address: Annotated[str | None, typer.Option(help="An existing Ray cluster: auto or HOST:PORT.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="One step and evaluation of each kind of adapter, then stop.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background.")] = False,
    supervise: Annotated[
        bool, typer.Option("--supervise", help="Stay beside the driver, and resume whenever it dies.")
    ] = False,
    then_ablate: Annotated[
        str | None, typer.Option(metavar="PARAM", help="At the end also print `ablation --by PARAM`.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Run an experiment: find the best configuration."""
    from tuning.cli.commands import launch as commands_launch
    from tuning.cli.conclusion import end
    from tuning.ledger.storage import storage_folder

    experiment = commands_launch.load(file, set_ or [], name=name, trials=trials)
    commands_launch.require_parameter(then_ablate, experiment)
    if dry_run:
        commands_launch.rehearse(experiment)
        return
    place = storage_folder(storage)
    if detach or supervise:
        options = {"--address": address, "--then-ablate": then_ablate}
        kept = [f"{option}={value}" for option, value in options.items() if value is not None]
        given = [f"--set={value}" for value in set_ or []] + [f"--trials={trials}"] * (trials is not None)
        where = [f"--name={experiment.name}", f"--storage={place.absolute()}"]
        arguments = ["launch", file, *kept, *given, *where]
        if not detach:
            commands_launch.watch_over(experiment, place, arguments, kept)
        commands_launch.leave(experiment, place, arguments + ["--supervise"] * supervise)
        return
    end(commands_launch.run(experiment, place, address), then_ablate)


@app.command()
def resume(
    name: Name,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all from now on, also of a finished sweep.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Start failed trials once more.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The experiment's file, refused if more than its trials changed."),
    ] = None,
    set_: Sets = None,
    address: Annotated[str | None, typer.Option(help="An existing Ray cluster: auto or HOST:PORT.")] = None,
    then_ablate: Annotated[
        str | None, typer.Option(metavar="PARAM", help="At the end also print `ablation --by PARAM`.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Go on with an experiment after Ctrl-C or a crash, as if nothing had happened."""
    from tuning.cli.commands import launch as commands_launch
    from tuning.cli.conclusion import end
    from tuning.ledger.header import experiment_of
    from tuning.ledger.ledger import read_header
    from tuning.ledger.storage import parse_reference, storage_folder

    reference = parse_reference(name, storage_folder(storage))
    if reference.trial is not None:
        raise StorageError("resume takes an experiment, not one of its trials")
    folder = reference.folder
    if file is not None:
        wanted = commands_launch.trials_of(file, set_ or [], folder)
        trials = wanted if trials is None else trials
    elif set_:
        raise AdaptertuneError("--set changes the file of --file; a resumed experiment is as it was recorded")
    if then_ablate is not None:
        commands_launch.require_parameter(then_ablate, experiment_of(read_header(folder)))
    going_on = commands_launch.go_on(folder, trials=trials, retry_failed=retry_failed, address=address)
    end(going_on, then_ablate, resumed=True)


@app.command()
def train(
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="A file without a space.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="NAME:TRIAL", help="A recorded trial's number, or best.")
    ] = None,
    set_: Sets = None,
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where weights and reports go; made if absent.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Train one configuration here, without Ray."""
    from tuning.cli.commands import train as commands_train
    from tuning.experiment.load import load_experiment
    from tuning.experiment.write import experiment_yaml
    from tuning.ledger.storage import storage_folder

    place = storage_folder(storage)
    params: dict[str, JsonValue] = {}
    if file is not None and from_ is None:
        experiment = load_experiment(file, set_ or [])
        config = commands_train.sole_config(experiment)
    elif from_ is not None and file is None and not set_:
        experiment, params = _recorded(from_, place)
        config = experiment.trial_config(params)
    else:
        raise AdaptertuneError(
            "train takes FILE, with --set if need be, or --from NAME:TRIAL;"
            " to change a recorded trial, write its file with `adaptertune best NAME --format yaml`"
        )
    folder = commands_train.new_folder(into, place, experiment.name)
    commands_train.train(experiment, config, folder, experiment_yaml(experiment, params))


def _recorded(text: str, storage: Path) -> tuple[Experiment, dict[str, JsonValue]]:
    """The experiment and the parameters of NAME:best or NAME:3."""
    from tuning.ledger.storage import BEST, parse_reference

    reference = parse_reference(text, storage)
    if reference.trial is None:
        raise StorageError(f"say which trial: {text}:best, or a number as in {text}:3")
    if reference.trial == BEST:
        from analysis.query.sql import opened
        from analysis.ranking.best_sql import best_in

        with opened([reference.folder]) as source:
            recorded, best, _ = best_in(source)
            return recorded.experiment, dict(best.params)
    from analysis.query.sweep import Sweep

    sweep = Sweep.at(reference.folder)
    for trial in sweep.trials:
        if trial.number == reference.trial:
            return sweep.experiment, dict(trial.params)
    raise StorageError(f"{sweep.name} has no trial {reference.trial}; it has {len(sweep.trials)}, from 0 on")


# --- reading the record -----------------------------------------------------------------------


@app.command()
def domains(
    name: Name,
    metric: Annotated[
        str | None, typer.Option(help="Another figure than the task's own, as iou or dice/cat.")
    ] = None,
    format_: Annotated[
        cli_trained.Form, typer.Option("--format", help="json: every figure, robustness included.")
    ] = cli_trained.Form.TABLE,
    storage: Storage = None,
) -> None:
    """Show the best trials' figures on test images, in domain and shifted, by adapter."""
    from analysis.query.sweep import Sweep
    from analysis.ranking.domains import domain_json, domain_table
    from tuning.cli.console import console
    from tuning.ledger.storage import parse_reference, storage_folder

    sweep = Sweep.at(parse_reference(name, storage_folder(storage)).folder)
    if format_ is cli_trained.Form.JSON:
        typer.echo(json_text(domain_json(sweep)))
    else:
        print_table(console(), domain_table(sweep, metric))


@app.command()
def status(
    name: Name,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and look again until it ends.")] = False,
    storage: Storage = None,
) -> None:
    """Show how far an experiment is: trials by state, what runs, the best so far, failures."""
    from tuning.cli.console import console, lines
    from tuning.ledger.storage import parse_reference, storage_folder

    folder = parse_reference(name, storage_folder(storage)).folder
    out = console()
    while True:
        sweep, board = _board(folder)
        out.print(board.view(time.time()))
        if not watch or not board.alive:
            break
        time.sleep(2.0)
        if out.is_terminal:
            out.clear()
    if not board.alive and board.closed is None:
        lines(out, "the driver died; what it had recorded is kept", style="yellow")
    faults = board.prepared.faults if board.prepared is not None else []
    if faults:
        lines(out, f"data: {len(faults)} faults")
    for fault in faults[:10]:
        lines(out, f"  {'  '.join(map(str, fault.values())) if isinstance(fault, dict) else fault}")
    lines(out, *failures(sweep, folder, most=50))


@app.command("list")
def list_(storage: Storage = None) -> None:
    """List the experiments under --storage."""
    from tuning.ledger.storage import list_experiments, storage_folder

    place = storage_folder(storage)
    folders = list_experiments(place)
    if not folders:
        typer.echo(f"no experiments in {place}; start one with `adaptertune launch quickstart`")
    for folder in folders:
        try:
            _, board = _board(folder)
        except AdaptertuneError as error:
            typer.echo(f"{folder.name:28s} unreadable   {error}")
            continue
        typer.echo(f"{folder.name:28s} {board.state:12s} {board.summary(time.time())}")


@app.command()
def stop(name: OneTrial, storage: Storage = None) -> None:
    """End a running experiment, or one of its trials; what it has recorded is kept."""
    from tuning.cli.commands.stop import request_stop
    from tuning.ledger.storage import parse_reference, storage_folder

    typer.echo(request_stop(parse_reference(name, storage_folder(storage))))


@app.command()
def logs(name: OneTrial, storage: Storage = None) -> None:
    """Print what a trial wrote, tracebacks included; without a trial, what the driver wrote."""
    from tuning.ledger.storage import BEST, Reference, parse_log_reference, read_log, storage_folder

    reference = parse_log_reference(name, storage_folder(storage))
    if reference.trial == BEST:
        from analysis.ranking.best_sql import best_number

        reference = Reference(reference.folder, best_number(reference.folder))
    typer.echo(read_log(reference), nl=False)


def _board(folder: Path) -> tuple[Sweep, Board]:
    """An experiment's board as its record has it now."""
    from analysis.query.sweep import Sweep
    from tuning.cli.board import Board
    from tuning.ledger.ledger import driver_alive, read_history, read_records

    alive = driver_alive(folder)
    records = tuple(read_records(folder))
    sweep = Sweep.of(read_history(folder, records))
    board = Board(sweep.experiment, alive=alive)
    for record in records:
        board.observe(record)
    return sweep, board


app.add_typer(cli_questions.app)
app.add_typer(cli_trained.app)
app.add_typer(cli_ablate.app)
app.add_typer(cli_weighing.app)
app.add_typer(cli_report.app)


def main() -> None:
    """Entry point of the `adaptertune` command."""
    # What imports make lives as long as the process: looking through it again and again takes a tenth of
    # the time in which a question is answered.
    gc.set_threshold(50_000)
    # Nor need it be looked through at the end for what goes anyway: another tenth. What has to be closed
    # is, by who opened it; `atexit` and the clearing of modules stay. Registered first, so called last.
    atexit.register(gc.freeze)
    # Looking for plugins that others may have installed reads the metadata of every package there is.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if len(sys.argv) > 1:
        _leave_only(sys.argv[1])
    app(prog_name="adaptertune")


def _leave_only(name: str) -> None:
    """Leaves the command that is named: Typer builds all of them, 2 ms each, before it runs one."""
    every = list(app.registered_commands)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        every += group.typer_instance.registered_commands
    asked = [
        command
        for command in every
        if command.callback is not None
        and name == (command.name or get_command_name(command.callback.__name__))
    ]
    if asked:  # neither --help nor a typo, for which they are all listed
        kept = typer.Typer()
        kept.registered_commands = asked
        app.registered_commands, app.registered_groups = [], []
        app.add_typer(kept)
