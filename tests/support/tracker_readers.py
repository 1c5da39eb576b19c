"""What views for trackers show, read back by each tracker's own library, and what they should show."""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import Outcome
from tuning.views import mlflow_text, trackio_values
from tuning.views.mlflow_runs import DATABASE
from tuning.views.names import TENSORBOARD, TRACKIO, WANDB, experiment_of_project
from tuning.views.run_per_trial import curve_values

Point = tuple[int, float, float | None]
"""Step, value, and seconds since 1970 where the tracker has them."""


@dataclass
class Shown:
    """A run as a tracker shows it, under the record's own names."""

    params: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """outcome, reason and value."""
    status: str = ""

    def add(self, name: str, point: Point) -> None:
        self.curves.setdefault(name, []).append(point)

    @property
    def values(self) -> dict[str, list[tuple[int, float]]]:
        return {name: [(step, value) for step, value, _ in points] for name, points in self.curves.items()}


def recorded(history: History) -> dict[int, Shown]:
    """The runs that the record asks for."""
    return {number: _recorded(trial) for number, trial in history.trials.items()}


def _recorded(trial: TrialHistory) -> Shown:
    shown = Shown(params=dict(trial.params))
    for report in trial.reports:
        for name, value in curve_values(report).items():
            shown.add(name, (report.step, value, report.time))
    if trial.ended is not None:
        facts = {
            "outcome": trial.ended.outcome.value,
            "reason": trial.ended.reason,
            "value": trial.ended.value,
        }
        shown.facts = {name: value for name, value in facts.items() if value is not None}
    return shown


# --- MLflow -----------------------------------------------------------------------------------


def mlflow_client(database: Path) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{database}")


def read_mlflow(folder: Path, name: str = "digits") -> dict[int, Shown]:
    with tempfile.TemporaryDirectory() as plain:  # a URL has no place for the characters of every path
        copy = Path(shutil.copy(folder / "mlflow" / DATABASE, plain))
        return _read_mlflow(mlflow_client(copy), name)


def _read_mlflow(client: Any, name: str) -> dict[int, Shown]:
    found = {}
    for run in client.search_runs([client.get_experiment_by_name(name).experiment_id]):
        tags = run.data.tags
        shown = Shown(status=run.info.status)
        for key, text in run.data.params.items():
            value = mlflow_text.recorded_value(mlflow_text.whole(text, tags))
            shown.params[mlflow_text.recorded_name(key, tags)] = value
        for key in run.data.metrics:
            for point in client.get_metric_history(run.info.run_id, key):
                name = mlflow_text.recorded_name(key, tags)
                shown.add(name, (point.step, point.value, point.timestamp / 1000))
        for fact in ("outcome", "reason", "value"):
            if (text := tags.get(f"adaptertune.{fact}")) is not None:
                shown.facts[fact] = mlflow_text.recorded_value(mlflow_text.whole(text, tags))
        number = int(tags["adaptertune.trial"])
        assert number not in found, "two runs of one trial"
        found[number] = shown
    return found


STATUS = {
    None: "RUNNING", Outcome.INTERRUPTED: "RUNNING", Outcome.COMPLETED: "FINISHED",
    Outcome.REUSED: "FINISHED",     Outcome.EARLY_STOPPED: "FINISHED", Outcome.PRUNED: "KILLED",
    Outcome.DIVERGED: "FAILED", Outcome.FAILED: "FAILED",
}  # fmt: skip


# --- Trackio ----------------------------------------------------------------------------------


def read_trackio(folder: Path, name: str = "digits") -> dict[int, Shown]:
    with pytest.MonkeyPatch.context() as patched:
        from trackio import sqlite_storage
        from trackio.api import Api

        patched.setattr(sqlite_storage, "TRACKIO_DIR", folder / "trackio")
        (project,) = sqlite_storage.SQLiteStorage.get_projects()
        assert experiment_of_project(project) == name
        found = {}
        for run in Api().runs(project):
            shown = Shown()
            for key, value in run.config.items():
                own = key.startswith("adaptertune.")
                into = shown.facts if own else shown.params
                known = key.removeprefix("adaptertune.") if own else TRACKIO.decode(key)
                into[known] = trackio_values.recorded_value(value)
            for log in sqlite_storage.SQLiteStorage.get_logs(project, run_id=run.id):
                step, when = log.pop("step"), datetime.fromisoformat(log.pop("timestamp")).timestamp()
                for key, value in log.items():
                    shown.add(TRACKIO.decode(key), (step, value, when))
            found[shown.facts.pop("trial")] = shown
        return found


# --- Weights & Biases -------------------------------------------------------------------------


def wandb_lines(path: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format in blocks of 32 KiB, behind seven bytes."""
    data, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece = data[at + 7 : at + 7 + length]
        at += 7 + length
        part = piece if kind in (1, 2) else part + piece
        if kind in (1, 4):
            yield part


def read_wandb(folder: Path, name: str = "digits") -> dict[int, Shown]:
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        shown = Shown()
        number = -1
        for line in wandb_lines(path):
            record = Record.FromString(line)
            match record.WhichOneof("record_type"):
                case "run":
                    assert record.run.run_group == name
                    config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                    number = config.pop("trial", number)
                    config = {key: value for key, value in config.items() if key not in ("_wandb", "task")}
                    shown.params |= {WANDB.decode(key): value for key, value in config.items()}
                case "history":
                    row = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
                    for key, value in row.items():
                        if not key.startswith("_"):
                            shown.add(WANDB.decode(key), (row["_step"], value, None))
                case "summary":
                    row = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.summary.update}
                    facts = ("outcome", "reason", "value")
                    shown.facts |= {key: value for key, value in row.items() if key in facts}
                case "exit":
                    shown.status = str(record.exit.exit_code)
        assert number not in found, "two runs of one trial"
        found[number] = shown
    return found


# --- TensorBoard ------------------------------------------------------------------------------


def read_tensorboard(folder: Path, name: str = "digits") -> dict[int, Shown]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        if not path.is_dir():
            continue
        events = EventAccumulator(str(path)).Reload()
        shown = Shown()
        told = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        for key, value in parse_session_start_info_plugin_data(told).hparams.items():
            shown.params[TENSORBOARD.decode(key)] = getattr(value, value.WhichOneof("kind"))
        for key in events.Tags()["scalars"]:
            for point in events.Scalars(key):
                shown.add(TENSORBOARD.decode(key), (point.step, point.value, point.wall_time))
        found[int(path.name)] = shown
    return found


def as_float32(value: float) -> float:
    """What TensorBoard keeps of a value."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0]) if math.isfinite(value) else value
