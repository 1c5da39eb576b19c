"""A view whose library runs in a process of its own, controlled by lines of JSON.

In the driver such a library would bring its threads, its exit hooks that wait for a network, and its
settings. The process begins with one line that says which runs it has; then it carries out commands. A
run is written from the reports that count: if a trial goes on from an earlier epoch, its run is written
again, because these tools never take a point back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from pydantic import JsonValue

from cluster.packages import package_folder
from trainables.errors import StorageError
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ExperimentRecord, ReportRecord
from tuning.views.run_per_trial import RunsView, curve_values

LOG = "writer.log"
"""The output of the process."""
SENDING_S = 8.0
"""How long the end of a sweep waits for the process."""
MAY_START_AGAIN = (Outcome.FAILED, Outcome.DIVERGED, Outcome.INTERRUPTED)


@dataclass
class _Trial:
    """A run as it should be: everything that the tool is told of a trial."""

    params: Mapping[str, JsonValue]
    began: float
    reports: list[ReportRecord] = field(default_factory=list)
    told: int | None = None
    """How many of the reports the process has got; None: not even that the run exists."""


class ProcessView(RunsView):
    """Runs that the module `module` writes, started as a process with the folder and `arguments`."""

    module: ClassVar[str]
    unfinished: ClassVar[str] = "what is missing then is written by the next `adaptertune resume`"

    def __init__(
        self, experiment: Experiment, folder: Path, header: ExperimentRecord, *, sending_s: float = SENDING_S
    ) -> None:
        super().__init__(folder.absolute())
        self._experiment = experiment
        self._launch = hashlib.sha256(f"{header.name} {header.time}".encode()).hexdigest()[:8]
        self._sending_s = sending_s
        self._process: subprocess.Popen[str] | None = None
        self._there: set[int] | None = None
        self._trials: dict[int, _Trial] = {}
        """Open runs, and ended ones whose trial may start again."""
        self._open: set[int] = set()

    def begin(self, history: History) -> None:
        """See `RunsView`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = self._begin_process()
        self._there = self._greeting()
        super().begin(history)
        for trial in history.trials.values():
            if trial.number not in self._open and trial.outcome in MAY_START_AGAIN:
                self._trials[trial.number] = _Trial(trial.params, trial.started, list(trial.reports))
        self.settle()

    def settle(self) -> None:
        """See `View`."""
        for number in sorted(self._open):
            self._bring_up(number)
        try:
            self._lines.flush()
        except OSError as error:
            raise self._error() from error

    def close(self) -> None:
        """See `View`. Raises StorageError if it takes longer than `sending_s`; writing then continues."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(self._sending_s)
        except subprocess.TimeoutExpired:
            raise StorageError(
                f"writing was not finished after {self._sending_s:g} s and continues for at most a minute;"
                f" {self.unfinished}"
            ) from None
        if process.returncode:
            raise self._error()

    def abandon(self) -> None:
        """See `View`. What the process has not written yet it does not write."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    # --- the process --------------------------------------------------------------------------

    def arguments(self) -> list[str]:
        """What the process is started with, after the view's folder."""
        return []

    def environment(self) -> dict[str, str]:
        """The environment of the process."""
        return dict(os.environ)

    def _begin_process(self) -> subprocess.Popen[str]:
        source = str(package_folder("tuning").parent)
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        with (self._folder / LOG).open("w") as log:
            # A separate session, so that Ctrl-C reaches only the driver; the process sees its end by EOF.
            return subprocess.Popen(
                # -P: a folder named tuning in the current folder is not ours.
                [sys.executable, "-P", "-m", self.module, str(self._folder), *self.arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=self.environment() | {"PYTHONPATH": os.pathsep.join(paths)},
            )

    def _greeting(self) -> set[int] | None:
        """The trials whose runs the process has; None if it has all that were whole."""
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            line = answers.readline()
        if not line:
            self._process.wait()
            raise self._error()
        there = json.loads(line)["there"]
        return None if there is None else set(there)

    @property
    def _lines(self) -> IO[str]:
        assert self._process is not None
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, **what: Any) -> None:
        try:
            self._lines.write(json.dumps(what) + "\n")
        except OSError as error:
            raise self._error() from error

    def _error(self) -> StorageError:
        """The last line that the process printed, as an error."""
        log = self._folder / LOG
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return StorageError(f"{lines[-1].strip() if lines else 'its process ended'} (see {log})")

    # --- its runs -----------------------------------------------------------------------------

    def is_there(self, number: int) -> bool:
        """See `RunsView`."""
        return self._there is None or number in self._there

    def remove(self, number: int) -> None:
        """See `RunsView`. The process replaces a run when it is told to start it."""

    def start(self, number: int, params: Mapping[str, JsonValue], began: float) -> None:
        """See `RunsView`. A trial that had ended and starts again keeps its reports, as in the record."""
        earlier = self._trials.get(number)
        if earlier is not None and earlier.params == params:
            earlier.told = None
        else:
            self._trials[number] = _Trial(params, began)
        self._open.add(number)

    def report(self, record: ReportRecord) -> None:
        """See `RunsView`."""
        trial = self._trials[record.trial]
        while trial.reports and trial.reports[-1].epoch >= record.epoch:
            trial.reports.pop()
        trial.reports.append(record)
        if trial.told is not None and len(trial.reports) <= trial.told:
            trial.told = None

    def end(self, record: EndedRecord, reports: int | None) -> None:
        """See `RunsView`. The process records that the run is complete."""
        number = record.trial
        self._bring_up(number)
        self._tell(
            do="end",
            trial=number,
            outcome=record.outcome.value,
            reason=record.reason,
            value=_readable(record.value),
            time=record.time,
            reports=None if reports is None else len(self._trials[number].reports),
        )
        self._open.discard(number)
        if record.outcome not in MAY_START_AGAIN:
            del self._trials[number]

    def _bring_up(self, number: int) -> None:
        """Tell the process what it does not know of a run."""
        trial = self._trials[number]
        if trial.told is None:
            self._tell(
                do="start",
                trial=number,
                id=f"{self._launch}-{number:04d}",
                name=f"{self._experiment.name}-{number:04d}",
                params={name: _readable(value) for name, value in trial.params.items()},
                began=trial.began,
                rows=[_row(report) for report in trial.reports],
            )
        elif trial.told < len(trial.reports):
            self._tell(do="log", trial=number, rows=[_row(report) for report in trial.reports[trial.told :]])
        trial.told = len(trial.reports)


def _row(record: ReportRecord) -> dict[str, Any]:
    return {"step": record.step, "time": record.time, "metrics": curve_values(record)}


def _readable(value: JsonValue) -> JsonValue:
    """A value in which NaN and infinities are text: tools would make null or 1.8e308 of them."""
    match value:
        case float() if not math.isfinite(value):
            return json.dumps(value)
        case list():
            return [_readable(item) for item in value]
        case dict():
            return {key: _readable(item) for key, item in value.items()}
        case _:
            return value
