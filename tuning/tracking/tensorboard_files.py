"""The record as TensorBoard event files: a run a trial, its curves over optimizer steps and its parameters.

Written one after the other in the view's own thread, by the parts of tensorboardX that Ray brings
along: its SummaryWriter has a thread a trial, and a full disk ends there unnoticed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tuning.history import History, TrialHistory
from tuning.records import EndedRecord, Outcome, Record, ReportRecord, StartedRecord
from tuning.tracking.done import Done
from tuning.tracking.views import View

FOLDER = "tensorboard"


class TensorBoardView(View):
    """`tensorboard/0007/` in the experiment's folder, one each trial."""

    title = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._open: dict[int, _Run] = {}
        self._done: Done | None = None

    def begin(self, history: History) -> None:
        """See `View`. Trials that had ended and are there whole stay as they are; others are written anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._done = Done(self._folder)
        for trial in history.trials.values():
            over = trial.ended is not None and trial.outcome is not Outcome.INTERRUPTED
            if over and self._done.has(trial) and self._of(trial.number).is_dir():
                continue
            shutil.rmtree(self._of(trial.number), ignore_errors=True)
            self._write(trial)

    def observe(self, record: Record) -> None:
        """See `View`."""
        match record:
            case StartedRecord():
                if record.trial not in self._open:
                    self._start(record.trial, record.params, record.time)
            case ReportRecord():
                if record.trial in self._open:
                    self._open[record.trial].report(record)
            case EndedRecord():
                self._end(record)
            case _:
                pass

    def settle(self) -> None:
        """See `View`."""
        for run in self._open.values():
            run.flush()

    def close(self) -> None:
        """See `View`."""
        for run in self._open.values():
            run.close()
        self._open = {}

    def _of(self, number: int) -> Path:
        return self._folder / f"{number:04d}"

    def _start(self, number: int, params: Mapping[str, JsonValue], began: float) -> None:
        self._open[number] = _Run(self._of(number), params, began)

    def _write(self, trial: TrialHistory) -> None:
        self._start(trial.number, trial.params, trial.started)
        for report in trial.reports:
            self._open[trial.number].report(report)
        if trial.ended is not None and trial.outcome is not Outcome.INTERRUPTED:
            self._end(trial.ended)

    def _end(self, record: EndedRecord) -> None:
        run = self._open.pop(record.trial, None)
        if run is None:
            return
        if record.outcome is not Outcome.INTERRUPTED:
            run.end(record)
        run.close()
        if record.outcome is not Outcome.INTERRUPTED and self._done is not None:
            self._done.add(record.trial, run.reports)


class _Run:
    """One event file. A trial that starts again has one more in the same folder."""

    def __init__(self, folder: Path, params: Mapping[str, JsonValue], began: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Names of event files hold the second; two of one trial within one must not meet.
        self._again = len(list(folder.iterdir()))
        self._file = EventsWriter(str(folder / "events"), f".{self._again}" if self._again else "")
        self.reports = 0
        self._step = 0
        settings = {name: _shown(value) for name, value in params.items()}
        about, start, self._over = summary.hparams(settings, {"objective": 0.0})
        for part in (about, start):
            self._add(part, 0, began)

    def report(self, record: ReportRecord) -> None:
        """A point of every curve."""
        if record.step <= self._step if self.reports else self._again:
            # It goes on from an earlier state: TensorBoard drops what it has from here on.
            start = SessionLog(status=SessionLog.START)
            self._file.write_event(Event(session_log=start, step=record.step, wall_time=record.time))
        self.reports += 1
        self._step = record.step
        figures = record.metrics | {"objective": record.objective, "epoch": record.epoch}
        figures |= {"peak_mb": record.peak_mb, "seconds/train": record.train_s}
        for name, value in figures.items():
            if value is not None and math.isfinite(value):
                self._add(summary.scalar(name, value), record.step, record.time)

    def end(self, record: EndedRecord) -> None:
        """What became of it."""
        words = record.outcome.value if record.reason is None else f"{record.outcome.value}: {record.reason}"
        self._add(summary.text("outcome", words), self._step, record.time)
        self._add(self._over, self._step, record.time)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, part: Any, step: int, when: float) -> None:
        self._file.write_event(Event(summary=part, step=step, wall_time=when))


def _shown(value: JsonValue) -> str | bool | int | float | None:
    return value if value is None or isinstance(value, str | bool | int | float) else json.dumps(value)
