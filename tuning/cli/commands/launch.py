"""What `adaptertune launch` does: run a sweep, rehearse one, or leave one in the background."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from trainables.errors import AdaptertuneError, ExperimentFileError
from tuning.cli.board import Board, trials_asked
from tuning.cli.console import console, lines, show
from tuning.cli.progress import Progress
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment
from tuning.formatting import duration
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import read_header, read_history
from tuning.ledger.storage import shell_name
from tuning.messages import FAILED, say

if TYPE_CHECKING:
    from trainables.specs.trial import TrialConfig
    from trainables.training.dry_run import DryRun
    from tuning.run.estimate import SweepEstimate
    from tuning.run.launch import LaunchResult


def load(file: str, overrides: Sequence[str], *, name: str | None, trials: int | None) -> Experiment:
    """The file with its overrides, as the record will have it; it must have something to search."""
    given = list(overrides)
    if name is not None:
        given.append(f"name={json.dumps(name)}")
    if trials is not None:
        given.append(f"search.trials={trials}")
    experiment = load_experiment(file, given)
    experiment.require_space()
    return experiment


def require_parameter(name: str | None, experiment: Experiment) -> None:
    """Raises AdaptertuneError for an ablation by what is not searched."""
    if name is not None and name not in experiment.space.names:
        varied = ", ".join(experiment.space.names)
        raise AdaptertuneError(f"--then-ablate {name}: the space has no such parameter; it has {varied}")


def run(experiment: Experiment, storage: Path, address: str | None) -> LaunchResult:
    """The sweep, with its live table, or lines where there is no terminal."""
    from tuning.run.launch import launch

    with Progress(Board(experiment), console()) as progress:
        return launch(experiment, storage, address=address, on_event=progress)


def watch_over(
    experiment: Experiment, storage: Path, arguments: Sequence[str], options: Sequence[str]
) -> NoReturn:
    """Runs `adaptertune ARGUMENTS`, and `adaptertune resume` with `options` as often as the driver dies.

    Exits with the driver's code.
    """
    from tuning.run.detach import command_line
    from tuning.run.launch import refuse_existing
    from tuning.run.supervise import supervise

    folder = (storage / experiment.name).absolute()
    refuse_existing(folder, experiment.name)
    again = ["resume", str(folder), *options]
    raise typer.Exit(supervise(command_line(arguments), command_line(again), folder, tell=say))


def recorded(folder: Path) -> Experiment:
    """The experiment as its record has it."""
    return experiment_of(read_history(folder).header)


def trials_of(file: str, overrides: Sequence[str], folder: Path) -> int | None:
    """How many trials a file wants that is the recorded one but for that; None if as many as before.

    Raises ExperimentFileError where anything else differs.
    """
    from tuning.experiment.differences import find_differences

    begun, now = recorded(folder), load_experiment(file, overrides)
    changed = {difference.key: difference for difference in find_differences(begun, now)}
    wanted = now.search.trials
    if wanted is not None and changed.pop("search.trials", None) is None:
        wanted = None
    if not changed:
        return wanted
    shown = "".join(f"\n  {difference}" for difference in changed.values())
    raise ExperimentFileError(
        f"{file} is not what {begun.name} was begun with, and only search.trials may change:{shown}\n"
        f"Undo this, or launch it under another name with `search: {{from: [{shell_name(folder)}]}}`,"
        " which learns from the trials that are finished"
    )


def go_on(folder: Path, *, trials: int | None, retry_failed: bool, address: str | None) -> LaunchResult:
    """The sweep from where its record ends, under the same table."""
    from tuning.run.resume import resume

    board = Board(experiment_of(read_header(folder)))
    with Progress(board, console()) as progress:
        return resume(
            folder,
            trials=trials,
            retry_failed=retry_failed,
            address=address,
            on_past=board.observe,
            on_event=progress,
        )


def leave(experiment: Experiment, storage: Path, arguments: Sequence[str]) -> None:
    """Starts `adaptertune ARGUMENTS` in the background and says how to watch and stop it."""
    from tuning.run.detach import NotStartedError, detach
    from tuning.run.launch import refuse_existing

    folder = (storage / experiment.name).absolute()
    refuse_existing(folder, experiment.name)
    try:
        left = detach(arguments, folder)
    except NotStartedError as error:
        say(str(error))
        raise typer.Exit(error.code) from error
    name = shell_name(folder)
    doing = "runs" if left.prepared else "prepares its data"
    lines(
        console(),
        f"{experiment.name} {doing} in the background as process {left.process}",
        f"  output  {left.log}",
        f"  watch   adaptertune status {name} --watch",
        f"  stop    adaptertune stop {name}",
        f"  best    adaptertune best {name}",
    )


# --- rehearsal --------------------------------------------------------------------------------


def rehearse(experiment: Experiment) -> None:
    """One real step and evaluation of each kind of adapter; prints what the sweep will cost."""
    from trainables.training.dry_run import dry_run
    from tuning.run.estimate import costliest_configs, estimate_sweep

    configs = costliest_configs(experiment)
    runs = dry_run(experiment.workload, configs, threads=experiment.resources.threads)
    out = console()
    show(
        out,
        f"{experiment.name}: dry run",
        ("adapter", "freezing", "trains: adapter", "head", "backbone", "ms/step", "peak MB", "a trial"),
        [_row(config, run) for config, run in zip(configs, runs, strict=True)],
        caption="the costliest configuration of each kind of adapter; trains: parameters that train;"
        " a trial: all its epochs",
        numeric=(2, 3, 4, 5, 6, 7),
    )
    lines(out, *(f"{run.adapter}, {run.freezing}: {run.error}" for run in runs if run.error is not None))
    if all(run.error is not None for run in runs):
        say("no adapter could be built")
        raise typer.Exit(FAILED)
    expected = estimate_sweep(
        experiment, configs, runs, trials=trials_asked(experiment), side_by_side=_side_by_side(experiment)
    )
    lines(out, *_sums(experiment, expected))
    if any(run.error is not None for run in runs):
        say("some adapters cannot run as asked; their trials would fail")
        raise typer.Exit(FAILED)


def _row(config: TrialConfig, run: DryRun) -> tuple[str, ...]:
    from tuning.run.estimate import trial_seconds

    adapter = run.adapter if config.peft is None else f"{run.adapter} {config.peft.method}"
    if run.error is not None:
        return (adapter, run.freezing, "–", "–", "–", "–", "–", "cannot run")
    return (
        adapter,
        run.freezing,
        *(f"{run.parameters.get(part, 0):,}" for part in ("adapter", "head", "backbone")),
        f"{1000 * run.step_s:.1f}",
        f"{run.peak_mb:.0f}",
        duration(trial_seconds(config, run)),
    )


def _sums(experiment: Experiment, expected: SweepEstimate) -> tuple[str, ...]:
    number = "an open number of" if expected.trials is None else str(expected.trials)
    stops = experiment.scheduler.rule is not None
    total = "" if expected.total_s is None else f", about {duration(expected.total_s)} in all"
    return (
        f"trials  {number}, {expected.side_by_side} side by side, at most {expected.epochs:g} epochs each",
        f"time    {duration(expected.trial_s)} a trial{total}"
        + (", at most: the scheduler stops trials early" if stops else "")
        + "; start-up not counted",
        f"memory  {expected.peak_mb:.0f} MB a trial, {expected.total_mb:.0f} MB side by side",
    )


def _side_by_side(experiment: Experiment) -> int:
    """Trials at once on this machine."""
    import torch

    from cluster.capacity import Node, slots

    here = Node(cpus=float(os.cpu_count() or 1), gpus=float(torch.cuda.device_count()))
    resources = experiment.resources
    gpus = (1.0 if here.gpus else 0.0) if resources.gpus == "auto" else float(resources.gpus)
    fit = max(1, slots([here], cpus=resources.cpus, gpus=gpus))
    return min(fit, resources.concurrent or fit)
