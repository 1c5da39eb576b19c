"""Trains one configuration in this process, for `train`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import JsonValue

from trainables.data.domains import split_names
from trainables.data.prepared import open_prepared
from trainables.metrics.above_floor import collapsed
from trainables.metrics.objective_value import check_objective
from trainables.metrics.prepared_floors import objective_floor, prepared_floors
from trainables.packing.pack import PackEngine
from trainables.preparation import prepare_workload
from trainables.run_folder import BEST_WEIGHTS, SPLITS
from trainables.specs.definitions import MEANINGS, Definitions
from trainables.specs.report import Report
from trainables.specs.stage import Stage
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine
from trainables.training.gradient_audit import grouped
from trainables.training.solo import Advance, train_solo
from trainables.training.state import TrialState
from trainables.wording import plural
from tuning.checkpoints.run_definitions import RunDefinitions
from tuning.checkpoints.run_stages import write_stages
from tuning.checkpoints.trained_adapter import DATA, ENVIRONMENT, EXPERIMENT, REPORTS
from tuning.cli.console import console, print_lines
from tuning.cli.data_summary import error_count, error_lines, prepared_line
from tuning.exit_codes import FAILED
from tuning.experiment.spec import Experiment
from tuning.formatting import duration
from tuning.ledger.environment import describe_environment
from tuning.messages import say
from tuning.run.prepared_data import found_in_folder


def train_configuration(
    experiment: Experiment, config: TrialConfig, folder: Path, file: str, before: Sequence[Stage] = ()
) -> None:
    """Train, print a line for each report, and leave weights, reports and the file in `folder`.

    The names of the images and the environment are written there, too. file: the run as an experiment file,
    with which it can be repeated.  before: what is trained first, because the trial began with it.
    """
    workload = experiment.workload
    (folder / EXPERIMENT).write_text(file, encoding="utf-8")
    write_stages(folder, before)
    _write_json(folder / ENVIRONMENT, describe_environment())
    out = console()
    print_lines(out, f"{experiment.name}: {_description(config)} in {folder}")
    prepared = open_prepared(prepare_workload(workload, progress=True))
    _show_data(folder, prepared.meta, found_in_folder(workload))
    check_objective(prepared, workload)
    floors = prepared_floors(prepared, workload)
    RunDefinitions(workload.definitions, floors).write(folder)
    if (old := _other_definition(workload)) is not None:
        print_lines(out, old)
    _write_json(folder / SPLITS, split_names(prepared, workload))
    started = time.monotonic()
    metric, valued = workload.objective.metric, list[Report]()
    with (folder / REPORTS).open("a", encoding="utf-8") as reports:

        def on_report(report: Report) -> None:
            reports.write(report.model_dump_json() + "\n")
            reports.flush()
            print_lines(out, _report_line(workload, config, report))
            if report.metrics.get(metric) == report.objective or not valued:
                valued[:] = [report]  # the report that gives the value

        def on_earlier(place: int, report: Report) -> None:
            line = _report_line(workload, before[place].config, report)
            print_lines(out, f"{line}  (stage {place + 1} of {len(before) + 1})")

        def on_start(state: TrialState) -> None:
            if state.still:
                print_lines(out, f"has no gradient and never trains: {', '.join(grouped(state.still))}")

        # A trial of a sweep is repeated with its threads; a file that sets none leaves the choice to torch.
        given = experiment.resources.model_fields_set
        threads = experiment.resources.threads if "threads" in given else None
        last = train_solo(
            workload,
            config,
            folder=folder,
            before=before,
            on_earlier=on_earlier,
            on_report=on_report,
            on_start=on_start,
            on_head=lambda head: print_lines(out, head.value),
            advance_with=_in_a_pack if experiment.packs else _alone,
            threads=threads,
        )
    if last.outcome == "diverged":
        say(
            f"diverged at epoch {last.epoch:g}: the loss or {metric} is no longer a number;"
            " try a lower learning rate"
        )
        raise typer.Exit(FAILED)
    ended = "stopped early, by its patience" if last.outcome == "early_stopped" else "done"
    print_lines(
        out,
        f"{ended}: {metric} {last.objective:.4f} on validation images ({workload.objective.value} report)"
        f" after {duration(time.monotonic() - started)}; weights in {folder / BEST_WEIGHTS}",
    )
    if (floor := objective_floor(workload, floors)) is not None:
        worth = (
            f"; collapsed: the 95 % interval of {metric} over the images reaches down to the floor"
            if collapsed(valued[0].above_floor)
            else ""
        )
        print_lines(out, f"floor of {metric}, what the best constant prediction reaches: {floor:.4f}{worth}")


def _in_a_pack(engine: Engine) -> Advance:
    """As a sweep in packs computes a trial: to the bit, whoever its partners were."""
    return PackEngine(engine).reports


def _alone(engine: Engine) -> Advance:
    return engine.advance


def _other_definition(workload: Workload) -> str | None:
    """What the objective's metric means here, if a new experiment would mean something else by it."""
    here, now = (d.of_metric(workload.objective.metric) for d in (workload.definitions, Definitions()))
    if here is None or now is None or here == now:
        return None
    (key, number), (_, newest) = here, now
    return (
        f"{key}: {MEANINGS[key][number]}, as when this experiment began;"
        f" in a new one: {MEANINGS[key][newest]}"
    )


def _show_data(folder: Path, meta: dict[str, Any], found: str) -> None:
    """Print what was prepared, as `launch` does, and keep it in `folder`.

    found: what lies in a folder of data that is given alone.
    """
    kept = ("fingerprint", "classes", "counts", "boxes", "crowds", "warnings", "faults")
    said = {"found": found} if found else {}
    _write_json(folder / DATA, {key: meta[key] for key in kept if key in meta} | said)
    print_lines(console(), *([f"data.folder: {found}"] if found else []))
    faults = meta.get("faults", [])
    counted = f"; {error_count(faults)}:" if faults else ""
    line = prepared_line(meta.get("counts", {}), meta.get("boxes", {}), meta.get("crowds", {}))
    print_lines(console(), f"data ready: {line}{counted}", *error_lines(faults, f"see {folder / DATA}"))
    print_lines(console(), *(f"warning: {text}" for text in meta.get("warnings", [])), style="yellow")


def _write_json(path: Path, value: dict[str, JsonValue]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _description(config: TrialConfig) -> str:
    return f"adapter {config.adapter}, freezing {config.mode}, {plural(config.epochs, 'epoch')}"


def _report_line(workload: Workload, config: TrialConfig, report: Report) -> str:
    metric = workload.objective.metric
    speed = f"{report.samples / report.train_s:.0f} images/s" if report.train_s else ""
    return (
        f"epoch {report.epoch:g}/{config.epochs}  {metric} {report.metrics.get(metric, float('nan')):.4f}"
        f"  {workload.objective.value} {report.objective:.4f}  {speed}"
    ).rstrip()
