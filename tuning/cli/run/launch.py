"""The command `launch`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Address, File, Sets, Storage, ThenAblate

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment


def run_launch(
    file: File,
    trials: Annotated[
        int | None, typer.Option(min=1, help="The number of trials, instead of the file's.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name of the experiment, instead of the file's.")
    ] = None,
    set_: Sets = None,
    address: Address = None,
    dry_run_only: Annotated[
        bool,
        typer.Option("--dry-run", help="Run one step and one evaluation of each kind of adapter, then stop."),
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
    supervise: Annotated[
        bool, typer.Option("--supervise", help="Watch the driver, and resume whenever it dies.")
    ] = False,
    then_ablate: ThenAblate = None,
    storage: Storage = None,
) -> None:
    """Run an experiment: search for the best configuration.

    The sweep shows a live table and ends with the best configuration. Ctrl-C stops it; `adaptertune resume
    NAME` continues it.
    \f
    With `--dry-run`, nothing is recorded; the time and memory of the sweep, and what packing gains, are
    estimated from the measurements.

    With `--supervise`, a small process watches the driver and runs `resume` whenever the driver dies: it was
    killed (a machine out of memory, for example) or failed with an error that the user need not correct. It
    waits 1, 5, 15, 60 and 180 seconds before the restarts. After each new report of a trial it starts again
    with 1 second; after five restarts without a report it gives up. Ctrl-C, SIGTERM and a closed terminal
    are passed on to the driver, which is then not resumed, and `adaptertune stop` ends both. The exit code
    is the driver's.

    Example:

        adaptertune launch nuclei.yaml --supervise --detach
    """
    from tuning.cli.ablations.confirm import confirm_as_asked, require_free_name
    from tuning.cli.run.background import run_supervised, start_in_background
    from tuning.cli.run.run_with_progress import require_parameter, run_sweep
    from tuning.ledger.storage import storage_folder

    experiment = load_sweep(file, set_ or [], name=name, trials=trials)
    require_parameter(then_ablate, experiment)
    if experiment.search.optuna is not None and (dry_run_only or detach or supervise):
        from tuning.search.sampler_check import check_sampler  # optuna

        check_sampler(experiment, file)
    if dry_run_only:
        from tuning.cli.run.dry_run import dry_run  # torch

        dry_run(experiment)
        return
    folder = storage_folder(storage)
    if experiment.confirm is not None:
        require_free_name(experiment, folder)
    if detach or supervise:
        options = {"--address": address, "--then-ablate": then_ablate}
        kept = [f"{option}={value}" for option, value in options.items() if value is not None]
        given = [f"--set={value}" for value in set_ or []] + [f"--trials={trials}"] * (trials is not None)
        target = [f"--name={experiment.name}", f"--storage={folder.absolute()}"]
        arguments = ["launch", file, *kept, *given, *target]
        if not detach:
            run_supervised(experiment, folder, arguments, kept)
        start_in_background(experiment, folder, arguments + ["--supervise"] * supervise)
        return
    result = run_sweep(experiment, folder, address)
    from tuning.cli.conclusion import conclude_sweep  # numpy

    conclude_sweep(result, then_ablate)
    if experiment.confirm is not None:
        confirm_as_asked(result.folder, address)


def load_sweep(file: str, overrides: Sequence[str], *, name: str | None, trials: int | None) -> Experiment:
    """The experiment of a file with its overrides, as it will be recorded; it must have a space."""
    from tuning.experiment.load import load_experiment

    given = list(overrides)
    if name is not None:
        given.append(f"name={json.dumps(name)}")
    if trials is not None:
        given.append(f"search.trials={trials}")
    experiment = load_experiment(file, given)
    experiment.require_space()
    return experiment
