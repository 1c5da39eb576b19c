"""What `adaptertune train` does: one configuration in this process, without Ray."""

from __future__ import annotations

import json
import time
from pathlib import Path

import typer
from pydantic import JsonValue

from trainables.errors import ExperimentFileError, StorageError
from trainables.run_folder import SPLITS
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from tuning.checkpoints.trained_adapter import ENVIRONMENT, EXPERIMENT, REPORTS
from tuning.cli.console import console, lines
from tuning.experiment.spec import Experiment
from tuning.formatting import duration
from tuning.ledger.environment import describe_environment
from tuning.messages import FAILED, say


def sole_config(experiment: Experiment) -> TrialConfig:
    """The configuration of a file that searches nothing. Raises ExperimentFileError if it has a space."""
    if experiment.space:
        raise ExperimentFileError(
            f"{experiment.name} has a `space` of {len(experiment.space.names)} parameters, and train runs one"
            " configuration: use `adaptertune launch`, or take one with"
            " `adaptertune best NAME --format yaml > FILE` or `adaptertune train --from NAME:best`"
        )
    return experiment.trial_config({})


def new_folder(into: Path | None, storage: Path, name: str) -> Path:
    """An empty folder for the run. Raises StorageError if the one asked for holds anything."""
    folder = into if into is not None else storage / "trained" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f"{folder} already holds something; choose another with --into")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train(experiment: Experiment, config: TrialConfig, folder: Path, file: str) -> None:
    """Trains, prints a line a report, and leaves weights, reports and the file in `folder`.

    Beside them which images it saw, by name, and what ran it. file: the run as an experiment file,
    to run it again.
    """
    from trainables.data.domains import split_names
    from trainables.data.prepared import open_prepared
    from trainables.preparation import prepare_workload
    from trainables.training.solo import train_solo

    workload = experiment.workload
    (folder / EXPERIMENT).write_text(file, encoding="utf-8")
    _write(folder / ENVIRONMENT, describe_environment())
    out = console()
    lines(out, f"{experiment.name}: {_described(config)} in {folder}")
    prepared = open_prepared(prepare_workload(workload, progress=True))
    _write(folder / SPLITS, split_names(prepared, workload))
    started = time.monotonic()
    with (folder / REPORTS).open("a", encoding="utf-8") as reports:

        def on_report(report: Report) -> None:
            reports.write(report.model_dump_json() + "\n")
            reports.flush()
            lines(out, _line(workload, config, report))

        # A trial of a sweep is repeated as it ran; a file that says nothing leaves the choice to torch.
        given = experiment.resources.model_fields_set
        threads = experiment.resources.threads if "threads" in given else None
        last = train_solo(workload, config, folder=folder, on_report=on_report, threads=threads)
    metric = workload.objective.metric
    if last.outcome == "diverged":
        say(f"diverged at epoch {last.epoch:g}: the loss or {metric} is no longer a number; try a lower rate")
        raise typer.Exit(FAILED)
    ended = "stopped early, by its patience" if last.outcome == "early_stopped" else "done"
    lines(
        out,
        f"{ended}: {metric} {last.objective:.4f} on validation images ({workload.objective.value} report)"
        f" after {duration(time.monotonic() - started)}; weights in {folder / 'best.ckpt'}",
    )


def _write(path: Path, value: dict[str, JsonValue]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _described(config: TrialConfig) -> str:
    return f"adapter {config.adapter}, freezing {config.mode}, {config.epochs} epochs"


def _line(workload: Workload, config: TrialConfig, report: Report) -> str:
    metric = workload.objective.metric
    pace = f"{report.samples / report.train_s:.0f} images/s" if report.train_s else ""
    return (
        f"epoch {report.epoch:g}/{config.epochs}  {metric} {report.metrics.get(metric, float('nan')):.4f}"
        f"  {workload.objective.value} {report.objective:.4f}  {pace}"
    ).rstrip()
