"""The record as TensorBoard event files: one run for each trial, with curves over optimizer steps.

Files are written in the view's own thread with the low-level parts of tensorboardX, which Ray depends on:
its SummaryWriter starts a thread for each trial, in which a full disk goes unnoticed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from tuning.experiment.alternative import as_scalar
from tuning.ledger.records import EndedRecord, ReportRecord
from tuning.views.names import TENSORBOARD
from tuning.views.run_per_trial import RunsView, curve_values

FOLDER = "tensorboard"


class TensorBoardView(RunsView):
    """Folders such as `tensorboard/0007/` in the experiment's folder, one for each trial."""

    title = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FOLDER)
        self._runs: dict[int, _Run] = {}

    def settle(self) -> None:
        """See `View`."""
        for run in self._runs.values():
            run.flush()

    def close(self) -> None:
        """See `View`."""
        for run in self._runs.values():
            run.close()
        self._runs = {}

    def is_there(self, number: int) -> bool:
        """See `RunsView`."""
        return self._of(number).is_dir()

    def remove(self, number: int) -> None:
        """See `RunsView`."""
        shutil.rmtree(self._of(number), ignore_errors=True)

    def start(self, number: int, params: Mapping[str, JsonValue], began: float) -> None:
        """See `RunsView`."""
        self._runs[number] = _Run(self._of(number), params, began)

    def report(self, record: ReportRecord) -> None:
        """See `RunsView`."""
        self._runs[record.trial].report(record)

    def end(self, record: EndedRecord, reports: int | None) -> None:
        """See `RunsView`."""
        run = self._runs.pop(record.trial)
        if reports is not None:
            run.end(record)
        run.close()
        if reports is not None:
            self._done.add(record.trial, reports, record.time)

    def _of(self, number: int) -> Path:
        return self._folder / f"{number:04d}"


class _Run:
    """An event file. A trial that starts again gets another one in the same folder."""

    def __init__(self, folder: Path, params: Mapping[str, JsonValue], began: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Names of event files contain the second; two files of a trial in the same second must differ.
        self._again = len(list(folder.iterdir()))
        self._file = EventsWriter(str(folder / "events"), f".{self._again}" if self._again else "")
        self._reported = False
        self._step = 0
        settings = {TENSORBOARD.encode(name): _setting(value) for name, value in params.items()}
        about, start, self._over = summary.hparams(settings, {"objective": 0.0})
        for part in (about, start):
            self._add(part, 0, began)

    def report(self, record: ReportRecord) -> None:
        """Add a point to every curve."""
        if record.step <= self._step if self._reported else self._again:
            # The trial resumes from an earlier state: TensorBoard drops all points from this step on.
            start = SessionLog(status=SessionLog.START)
            self._file.write_event(Event(session_log=start, step=record.step, wall_time=record.time))
        self._reported = True
        self._step = record.step
        for name, value in curve_values(record).items():
            # `summary.scalar` would write `mAP@50` as `mAP_50`.
            point = Summary.Value(tag=TENSORBOARD.encode(name), simple_value=value)
            self._add(Summary(value=[point]), record.step, record.time)

    def end(self, record: EndedRecord) -> None:
        """Write the outcome."""
        text = record.outcome.value if record.reason is None else f"{record.outcome.value}: {record.reason}"
        self._add(summary.text("outcome", text), self._step, record.time)
        self._add(self._over, self._step, record.time)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, part: Any, step: int, when: float) -> None:
        self._file.write_event(Event(summary=part, step=step, wall_time=when))


def _setting(value: JsonValue) -> str | bool | int | float | None:
    """A parameter's value for HPARAMS: text for a whole number that a machine word does not hold."""
    scalar = as_scalar(value)
    return str(scalar) if isinstance(scalar, int) and abs(scalar) >= 2**63 else scalar
