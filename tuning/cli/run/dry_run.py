"""`launch --dry-run`: measures one step of each kind of adapter, and estimates the cost of the sweep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import typer

from cluster.capacity import Capacity, Node
from cluster.usable_cpus import count_usable_cpus
from cluster.usable_memory import usable_memory
from trainables.specs.trial import TrialConfig
from trainables.training import dry_run as measured
from trainables.training.dry_run import DryRun
from trainables.wording import plural
from tuning.cli.console import console, print_columns, print_lines
from tuning.cli.run.dry_run_of_packs import pack_lines
from tuning.exit_codes import FAILED
from tuning.experiment.search_notes import search_notes
from tuning.experiment.spec import Experiment
from tuning.formatting import duration
from tuning.messages import say
from tuning.run.estimate import SweepEstimate, costliest_configs, estimate_sweep, trial_seconds
from tuning.run.prepared_data import found_in_folder
from tuning.run.room.worker_needs import WorkerNeeds

MESSAGES = 8
"""The most messages of libraries that are shown."""
MESSAGE_LENGTH = 160
MUCH = 1.1
"""A step that takes as many times as long is slower, and not only measured so."""


def dry_run(experiment: Experiment) -> None:
    """Run one step and one evaluation of each kind of adapter; print what the sweep will cost."""
    configs = costliest_configs(experiment)
    runs = measured.dry_run_configs(experiment.workload, configs, threads=experiment.resources.threads)
    out = console()
    if found := found_in_folder(experiment.workload):
        print_lines(out, f"data.folder: {found}")
    print_columns(
        out,
        f"{experiment.name}: dry run",
        ("adapter", "freezing", "trains: adapter", "head", "backbone", "ms/step", "peak MB", "a trial"),
        [_row(config, run) for config, run in zip(configs, runs, strict=True)],
        caption="the most expensive configuration of each kind of adapter; trains: parameters that train;"
        " a trial: all its epochs",
        numeric=(2, 3, 4, 5, 6, 7),
    )
    print_lines(
        out,
        *(
            f"{_name(config)}, {run.freezing}: has no gradient and never trains: {', '.join(run.still)}"
            for config, run in zip(configs, runs, strict=True)
            if run.still
        ),
    )
    print_lines(
        out, *(f"{run.adapter}, {run.freezing}: {run.error}" for run in runs if run.error is not None)
    )
    if all(run.error is not None for run in runs):
        say("no adapter could be built")
        raise typer.Exit(FAILED)
    expected = estimate_sweep(
        experiment, configs, runs, trials=experiment.trials_asked, side_by_side=_parallel_trials(experiment)
    )
    print_lines(out, *_totals(experiment, expected))
    print_lines(out, *search_notes(experiment, expected.side_by_side))
    measured_runs = list(zip(configs, runs, strict=True))
    print_lines(
        out,
        *pack_lines(experiment, measured_runs, workers=expected.side_by_side),
        *(
            _slower_in_bf16(config, run)
            for config, run in measured_runs
            if run.step_s > MUCH * run.fp32_step_s
        ),
    )
    print_lines(out, *message_lines([(_name(c), run.messages) for c, run in zip(configs, runs, strict=True)]))
    if any(run.error is not None for run in runs):
        say("some adapters cannot run with these settings; their trials would fail")
        raise typer.Exit(FAILED)


def message_lines(messages: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """What libraries said, each text once with the adapters that it came from; at most `MESSAGES` of them.

    messages: by the name of the adapter.
    """
    origins: dict[str, list[str]] = {}
    for adapter, texts in messages:
        for text in texts:
            origins.setdefault(text, []).append(adapter)
    lines = []
    for text, adapters in list(origins.items())[:MESSAGES]:
        names = list(dict.fromkeys(adapters))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        short = text if len(text) <= MESSAGE_LENGTH else f"{text[:MESSAGE_LENGTH]}…"
        lines.append(f"  {names[0]}{more}: {short}")
    if len(origins) > MESSAGES:
        lines.append(f"  … and {len(origins) - MESSAGES} more")
    return ["libraries said, while this was measured:", *lines] if lines else []


def _name(config: TrialConfig) -> str:
    return str(config.adapter) if config.peft is None else f"{config.adapter} {config.peft.method}"


def _slower_in_bf16(config: TrialConfig, run: DryRun) -> str:
    times = f"{1000 * run.step_s:.1f} ms in bf16, {1000 * run.fp32_step_s:.1f} ms in fp32"
    return f"{_name(config)}, {run.freezing}: precision: bf16 is slower on this CPU: a step takes {times}"


def _row(config: TrialConfig, run: DryRun) -> tuple[str, ...]:
    adapter = _name(config)
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


def _totals(experiment: Experiment, expected: SweepEstimate) -> tuple[str, ...]:
    number = "an unlimited number of" if expected.trials is None else str(expected.trials)
    stops = experiment.scheduler.rule is not None
    packed = experiment.packs
    parallel = f"{expected.side_by_side} in parallel"
    if packed:
        parallel = f"{plural(expected.side_by_side, 'worker')} in parallel that may train several at once"
    budget = "" if expected.budget is None else f", {plural(expected.budget, 'epoch')} in all"
    if experiment.search.stop is not None:
        budget += f"; it stops by itself {experiment.search.stop.in_words}"
    total = "" if expected.total_s is None else f", about {duration(expected.total_s)} in all"
    return (
        f"trials  {number}, {parallel}, at most {plural(expected.epochs, 'epoch')} each{budget}",
        f"time    {duration(expected.trial_s)} a trial{total}"
        + (", at most: the scheduler stops trials early" if stops else "")
        + "; start-up not counted",
        f"memory  {expected.peak_mb:.0f} MB a trial, {expected.total_mb:.0f} MB in parallel"
        + (", and more where workers train several at once" if packed else ""),
    )


def _parallel_trials(experiment: Experiment) -> int:
    """The number of workers that run at once on this machine; without packs each has one trial."""
    here = Node(
        cpus=float(count_usable_cpus()), gpus=float(torch.cuda.device_count()), memory=usable_memory()
    )
    resources = experiment.resources
    return Capacity(lambda: [here], WorkerNeeds(resources), resources.concurrent)()
