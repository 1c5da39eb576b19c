"""The record as runs of Weights & Biases: one for each trial, grouped by experiment.

wandb runs in a separate process (`wandb_process`), which gets commands line by line: in the driver, its
exit hooks would wait for a network that does not answer. This module never handles an API key.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from pydantic import JsonValue

from cluster.packages import package_folder
from trainables.errors import StorageError
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.records import EndedRecord, ExperimentRecord, Outcome, ReportRecord
from tuning.views.run_per_trial import RunsView, curve_values

FOLDER = "wandb"
LOG = "writer.log"
"""The output of the process."""
SENDING_S = 8.0
"""How long the end of a sweep waits for runs to be written and sent."""


class WandbView(RunsView):
    """Runs in the folder `wandb/` of the experiment, and on the server if the user is logged in."""

    title = "Weights & Biases"

    def __init__(
        self, experiment: Experiment, folder: Path, header: ExperimentRecord, *, sending_s: float = SENDING_S
    ) -> None:
        if experiment.views.wandb is None:
            raise ValueError("the experiment has no views.wandb")
        super().__init__(folder.absolute() / FOLDER)
        self._spec = experiment.views.wandb
        self._experiment = experiment
        self._launch = hashlib.sha256(f"{header.name} {header.time}".encode()).hexdigest()[:8]
        self._sending_s = sending_s
        self._process: subprocess.Popen[str] | None = None

    def begin(self, history: History) -> None:
        """See `RunsView`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = self._begin_process()
        super().begin(history)
        self.settle()

    def settle(self) -> None:
        """See `View`."""
        try:
            self._lines.flush()
        except OSError as error:
            raise self._error() from error

    def close(self) -> None:
        """See `View`. Raises StorageError if it takes longer than `sending_s`; sending then continues."""
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
                f"sending was not finished after {self._sending_s:g} s and continues for at most a minute;"
                f" what is not sent by then is in {self._folder}, and `wandb sync` sends it"
            ) from None
        if process.returncode:
            raise self._error()

    # --- the process --------------------------------------------------------------------------

    def _begin_process(self) -> subprocess.Popen[str]:
        source = str(package_folder("tuning").parent)
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        with (self._folder / LOG).open("w") as log:
            # A separate session, so that Ctrl-C reaches only the driver; the process sees its end by EOF.
            return subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # a folder named tuning in the current folder is not ours
                    "-m",
                    "tuning.views.wandb_process",
                    str(self._folder.parent),
                    self._spec.mode.value,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )

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

    def _id(self, number: int) -> str:
        return f"{self._launch}-{number:04d}"

    def remove(self, number: int) -> None:
        """See `RunsView`. Runs that were sent are kept."""
        for old in self._folder.glob(f"offline-run-*-{self._id(number)}"):
            if not list(old.glob("*.synced")):
                shutil.rmtree(old, ignore_errors=True)

    def start(self, number: int, params: Mapping[str, JsonValue], began: float) -> None:
        """See `RunsView`."""
        self._tell(
            do="start",
            trial=number,
            id=self._id(number),
            name=f"{self._experiment.name}-{number:04d}",
            group=self._experiment.name,
            project=self._spec.project,
            entity=self._spec.entity,
            config=dict(params) | {"trial": number, "task": self._experiment.task.value},
        )

    def report(self, record: ReportRecord) -> None:
        """See `RunsView`."""
        self._tell(do="log", trial=record.trial, step=record.step, metrics=curve_values(record))

    def end(self, record: EndedRecord, reports: int | None) -> None:
        """See `RunsView`. The process records that the run is complete."""
        what = {"outcome": record.outcome.value, "reason": record.reason, "value": record.value}
        lost = record.outcome in (Outcome.FAILED, Outcome.DIVERGED, Outcome.INTERRUPTED)
        self._tell(
            do="end",
            trial=record.trial,
            summary={name: value for name, value in what.items() if value is not None},
            code=int(lost),
            reports=reports,
        )


def require_wandb() -> None:
    """Raise StorageError if the package wandb is not installed."""
    if find_spec("wandb") is None:
        raise StorageError(
            "views.wandb needs a package that is missing; pip install 'adaptertune[wandb]', or remove it"
        )
