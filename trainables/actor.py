"""The bridge to Ray: a reused actor keeps backbone and data, and swaps one trial's state in.

A trial that cannot be built, diverges or raises says so in its result, with the reason, and the
actor lives on for the next one; only a killed process is Ray's to report.
"""

from __future__ import annotations

import os
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainables.checkpoint import restore_state, save_state, save_weights
from trainables.config import TrialConfig
from trainables.engine import Engine
from trainables.errors import AdaptertuneError, CheckpointError
from trainables.freezing import count_parameters
from trainables.report import Report
from trainables.state import TrialState
from trainables.workload import Workload

SAVE_EVERY_S = 10.0
"""Seconds between two checkpoints of a trial that goes on; a finished one is always saved."""


class AdapterTrainable(tune.Trainable):  # type: ignore[misc]
    """One trial at a time, reports as steps. The configuration is described in `tuning.launch`."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load backbone and data, then begin the first trial."""
        torch.set_num_threads(int(config.get("threads", 1)))
        self._engine: Engine | None = None
        self._loaded: tuple[str, str] | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Swap the next trial in; Ray calls this on an actor whose trial has ended."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Advance to the next report."""
        if self._fault is not None:
            return self._failed(self._fault)
        try:
            return self._next_report()
        except Exception as error:
            return self._failed(_reason(error), traceback.format_exc())

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Our own checkpoints live in the experiment's folder; Ray has nothing to keep."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""

    # --- one trial ----------------------------------------------------------------------------

    def _begin(self, config: dict[str, Any]) -> None:
        self._number = int(config["trial"])
        self._folder = Path(config["experiment"]) / "trials" / f"{self._number:04d}"
        self._fault: str | None = None
        self._built: dict[str, int] | None = None
        self._baseline: dict[str, float] | None = None
        self._state: TrialState | None = None
        self._pending: Report | None = None
        self._epoch, self._saved_at = 0.0, time.monotonic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._open(config)
            self._log(f"configuration {config['config']}")
        except Exception as error:
            self._fault = _reason(error)
            self._log(traceback.format_exc())

    def _open(self, config: dict[str, Any]) -> None:
        loaded = (config["workload"], config["prepared"])
        if self._engine is None or self._loaded != loaded:
            workload = Workload.model_validate_json(config["workload"])
            self._engine, self._loaded = Engine(workload, Path(config["prepared"])), loaded
        self._baseline = self._measured_baseline(Path(config["experiment"]) / "baseline.claimed")
        state = self._engine.start(TrialConfig.model_validate_json(config["config"]), number=self._number)
        last = self._folder / "last.ckpt"
        if last.exists():
            try:
                # The record may have lost the report that was made with it: it is given once more.
                self._pending = restore_state(state, last)
            except CheckpointError as error:
                self._log(f"starting over: {error}")
                state = self._engine.start(state.config, number=self._number)
        self._state, self._built = state, count_parameters(state.parts, state.config)

    def _measured_baseline(self, claim: Path) -> dict[str, float] | None:
        """Figures of the untouched backbone, measured by the first worker that claims to."""
        assert self._engine is not None
        if not _first_to(claim):
            return None
        try:
            return self._engine.untouched()
        except Exception:  # no reason for this trial to fail; another worker may try
            self._log(traceback.format_exc())
            claim.unlink(missing_ok=True)
            return None

    def _next_report(self) -> dict[str, Any]:
        assert self._engine is not None
        assert self._state is not None
        state, again = self._state, self._pending
        self._pending = None
        if again is not None:
            self._epoch = again.epoch
            return self._result(report=again, done=state.done)
        ((state, report),) = self._engine.advance([state])
        self._epoch = report.epoch
        self._log(f"epoch {report.epoch:g}  objective {report.objective:.6g}  {report.metrics}")
        if report.outcome == "diverged":
            return self._failed(
                f"the loss or the objective is not finite at epoch {report.epoch:g}", None, report
            )
        if state.improved:
            save_weights(state, self._folder / "best.ckpt")
        if state.done or time.monotonic() - self._saved_at > SAVE_EVERY_S:
            save_state(state, self._folder / "last.ckpt", report)
            self._saved_at = time.monotonic()
        return self._result(report=report, done=state.done)

    def _failed(self, reason: str, trace: str | None = None, report: Report | None = None) -> dict[str, Any]:
        if trace is not None:
            self._log(trace)
        outcome = "diverged" if report is not None else "failed"
        return self._result(report=report, done=True, failure={"outcome": outcome, "reason": reason})

    def _result(
        self, *, report: Report | None, done: bool, failure: dict[str, str] | None = None
    ) -> dict[str, Any]:
        built, self._built = self._built, None
        baseline, self._baseline = self._baseline, None
        return {
            "trial": self._number,
            "epoch": self._epoch,
            "objective": report.objective if report is not None else float("nan"),
            "report": report.model_dump(mode="json") if report is not None and failure is None else None,
            "built": built,
            "baseline": baseline,
            "failure": failure,
            "done": done,
        }

    def _log(self, text: str) -> None:
        # A full disk must not hide the reason that is being reported.
        with suppress(OSError), (self._folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")


def _first_to(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, AdaptertuneError) else f"{type(error).__name__}: {error}"
