"""A trial in a worker, from its start or its checkpoint to its end: what it reports, and when it is saved.

A worker advances one such trial, or several at once. What goes wrong with a trial becomes part of its result.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trainables.errors import CheckpointError, StaleStartError, StorageError, reason_of
from trainables.inference.trial_latency import trial_latency
from trainables.models.freezing import count_parameters
from trainables.run_folder import (
    BASELINE_CLAIM,
    BEST_WEIGHTS,
    CONTROL,
    HALT,
    HALTED,
    LAST_STATE,
    PAUSED,
    STOPPED,
    append_to_log,
)
from trainables.specs.data import Split
from trainables.specs.heads import HeadSource
from trainables.specs.job import Failure, TrialJob, TrialResult
from trainables.specs.owner import Owner
from trainables.specs.report import Report
from trainables.start_number import newest_start
from trainables.storage_paths import StorePath, place
from trainables.training.begin_from_parent import begin_from_parent
from trainables.training.checkpoint import (
    check_owner,
    pack_weights,
    read_state,
    restore_state,
    save_state,
    stored_digest,
    write_packed,
)
from trainables.training.engine import Engine
from trainables.training.evaluation import ran_out_of_memory
from trainables.training.gradient_audit import grouped
from trainables.training.macs import count_macs
from trainables.training.state import TrialState
from trainables.workers.quiet_machine import UNLOCKED, quiet_machine

SAVING_SHARE = 20
"""The least ratio of a trial's training time to its saving time, whatever interval is set."""
POLL_INTERVAL_S = 0.5
"""Seconds between polls for a request to save."""


class RunningTrial:
    """One trial of a worker. If it cannot be built or restored, `due` gives the result that says why.

    partners: how many trials the worker advances at once, this one included; each gets that share of the
    worker's time.
    """

    def __init__(self, job: TrialJob, engine_of: Callable[[], Engine], *, partners: int = 1) -> None:
        """Start or restore the trial. engine_of: returns the worker's engine, or loads it."""
        self.job = job
        self.state: TrialState | None = None
        self.partners = partners
        self.saving_s = 0.0
        """Seconds that the last save took."""
        self._folder = job.folder
        self._checkpoints = place(job.checkpoints)
        self.lacked_memory = False
        """Whether it could not be built or restored because memory ran out."""
        self._fault: str | None = None
        self._built: dict[str, int] | None = None
        self._head: HeadSource | None = None
        self._macs: int | None = None
        self._latency_ms: float | None = None
        self.machine = quiet_machine() if job.workload.measures_latency else UNLOCKED
        self._told: list[str] = []
        self._told_before = 0
        self._baseline: dict[str, float] | None = None
        self._pending: Report | None = None
        self._last_report: Report | None = None
        self._best: bytes | None = None
        self._halt = job.experiment / CONTROL / HALT
        self._stopped = self._halt.with_name(STOPPED.format(job.trial))
        self._paused = self._halt.with_name(PAUSED.format(job.trial))
        self._epoch, self._saved_epoch = 0.0, 0.0
        self._saved_at = self._polled_at = time.monotonic()
        self.lost = False
        """Whether the trial has started again elsewhere, so that nothing more is saved here."""
        self._saved: dict[str, str] = {}
        """The SHA-256 of checkpoints that are not reported yet, by name."""
        self._starts = None if job.starts is None else place(job.starts)
        self._unsaved: str | None = None
        self._told_unsaved = False
        try:
            begun = self._folder.is_dir()
            with suppress(OSError):  # a full disk may have free space by the time of the first save
                self._folder.mkdir(parents=True, exist_ok=True)
            with self.machine.busy():
                self._open(engine_of(), begun)
            self._measure_latency(engine_of())
            self.note(f"configuration {job.config.model_dump_json()}")
        except Exception as error:
            self._fault, self.lacked_memory = reason_of(error), ran_out_of_memory(error)
            self.note(traceback.format_exc())

    # --- what a worker calls --------------------------------------------------------------------

    def due(self) -> TrialResult | None:
        """The result that is due before another step, if any: why it cannot run, or a report sent again."""
        if self._fault is not None:
            return self.failed(self._fault)
        again, self._pending = self._pending, None
        if again is None:
            return None
        assert self.state is not None
        self._epoch = again.epoch
        return self._result(report=again, done=self.state.done)

    def reported(self, report: Report) -> TrialResult:
        """The result of a report that the engine has just given; the state is saved first if that is due."""
        assert self.state is not None
        state = self.state
        self._epoch, self._last_report = report.epoch, report
        self._log_told()
        self.note(f"epoch {report.epoch:g}  objective {report.objective:.6g}  {report.metrics}")
        if report.outcome == "diverged":
            return self.failed(
                f"the loss or the objective is not finite at epoch {report.epoch:g}", report=report
            )
        if self._stopped.exists():  # the record has no report after the stop
            return self._result(report=report, done=True)
        if state.improved:
            self._best = pack_weights(state, self.job.start)
        if state.done or self._due() or self._due_at(report.epoch) or self._paused.exists():
            self._save(state, report)
        elif self._best is not None:
            self._kept()
        if self.lost:
            return self.given_up()
        return self._result(report=report, done=state.done)

    def given_up(self) -> TrialResult:
        """The last result of a trial that has started again elsewhere; nobody waits for it."""
        return self._result(report=None, done=True)

    def failed(self, reason: str, trace: str | None = None, report: Report | None = None) -> TrialResult:
        """The result of a trial that ends without a value. trace: for its log.  report: if it diverged."""
        if trace is not None:
            self.note(trace)
        failure = Failure(outcome="diverged" if report is not None else "failed", reason=reason)
        return self._result(report=report, done=True, failure=failure)

    def between_steps(self) -> TrialResult | None:
        """Save in the middle of an epoch, if a save is due or the sweep is about to end.

        Returns a last result if the driver has stopped or paused the trial, and expects none of it.
        """
        now = time.monotonic()
        if now - self._polled_at >= POLL_INTERVAL_S:
            self._polled_at = now
            if self.lost or not self._ours():
                self.lost = True
                return self.given_up()
            self.save_if_halted()
            if self._paused.exists() or self._stopped.exists():
                self.save_now()
                return self._result(report=None, done=True)
        self.save_if_due()
        return self.given_up() if self.lost else None

    def save_now(self) -> None:
        """Save, as the trial is given up here and continues elsewhere."""
        if self.state is not None:
            self._save(self.state, self._report_of_now())

    def save_if_due(self) -> None:
        """Save if it is time."""
        if self.state is not None and self._due():
            self._save(self.state, self._report_of_now())

    def save_if_halted(self) -> None:
        """Save if the sweep is about to end, and tell the driver that it is done; once."""
        if self._halt.exists() and not (self._folder / HALTED).exists():
            self.save_now()
            if not self.lost and self._ours():  # or the driver would not wait for the newer start's state
                with suppress(OSError):
                    (self._folder / HALTED).touch()

    def note(self, text: str) -> None:
        """Write to the trial's log."""
        append_to_log(self._folder, text)

    def leave(self) -> None:
        """End it here: try for the last time to write best weights that did not fit on the disk."""
        self.state = None  # so that the next model can take its memory
        if self._best is None or self._kept() or self.lost or not self._ours():
            return
        self.note("its best weights are not kept")
        self._best = None
        with suppress(OSError, StorageError):  # weights of an earlier report would be mistaken for the best
            (self._checkpoints / BEST_WEIGHTS).unlink()

    # --- its start ------------------------------------------------------------------------------

    def _open(self, engine: Engine, begun: bool) -> None:
        """Start or restore the trial. begun: whether a worker has run this trial before."""
        job = self.job
        self._told = engine.told
        self._baseline = self._measured_baseline(engine, job.experiment / BASELINE_CLAIM)
        last = self._checkpoints / LAST_STATE
        state = None
        if begun and isinstance(self._checkpoints, StorePath) and self._ours():
            with suppress(StorageError):
                self._checkpoints.remove_parts()
        # So a store that does not answer at this moment does not fail a new trial.
        if (begun or isinstance(last, Path)) and last.exists():
            try:
                saved = read_state(last)
                check_owner(saved.weights, Owner(trial=job.trial))
                state = engine.start(job.config, number=job.trial, kept=saved.weights.kept)
                # The report saved with it may be missing in the record, so it is sent again.
                self._pending = self._last_report = restore_state(state, saved)
                self._saved = self._stored()
            except CheckpointError as error:
                self.note(f"starting over: {error}")
                state = None
        if state is None and job.parent is not None:
            state = begin_from_parent(engine, job.config, job.parent, number=job.trial)
            self._epoch = state.pace.epoch_of(state.step)
        elif state is None:
            state = engine.start(job.config, number=job.trial)
        self.state = state
        self._built = count_parameters(state.parts, state.config, still=state.still)
        if state.still:
            self.note(f"has no gradient and never trains: {', '.join(grouped(state.still))}")
        self._head = engine.task.head_source(state.config)
        if job.workload.counts_macs:
            self._macs = count_macs(engine.task, engine.data.splits[Split.VALIDATION], state)

    def _measure_latency(self, engine: Engine) -> None:
        """Time the model while no other worker of the machine takes a step, if the sweep weighs that."""
        if self.state is None or not self.job.workload.measures_latency:
            return
        with self.machine.alone() as alone:
            images = engine.data.splits[Split.VALIDATION]
            self._latency_ms = trial_latency(engine.task, images, self.state)
        self.note(f"latency {self._latency_ms:.4g} ms{'' if alone else ', measured beside other trials'}")

    def _measured_baseline(self, engine: Engine, claim: Path) -> dict[str, float] | None:
        """Metrics of the pretrained baseline, measured by the first worker that claims the task."""
        if not _first_to(claim, self.job.trial):
            return None
        try:
            return engine.baseline_metrics()
        except Exception:  # this trial must not fail for it; another worker may try
            self.note(traceback.format_exc())
            _give_back(claim, self.job.trial)
            return None

    # --- saving ---------------------------------------------------------------------------------

    def _ours(self) -> bool:
        """Whether the trial has not started again elsewhere."""
        return self._starts is None or newest_start(self._starts) <= self.job.start

    def _stored(self) -> dict[str, str]:
        """What the checkpoints say of themselves: the report of the last ones may be lost."""
        found = {name: stored_digest(self._checkpoints / name) for name in (LAST_STATE, BEST_WEIGHTS)}
        return {name: digest for name, digest in found.items() if digest is not None}

    def _due(self) -> bool:
        wait_s = max(self.job.save_every_s, SAVING_SHARE * self.partners * self.saving_s)
        return time.monotonic() - self._saved_at > wait_s

    def _due_at(self, epoch: float) -> bool:
        """Whether a report at this epoch is to be saved, however short the time since the last save."""
        every, now = self.job.save_every_epochs, epoch + 1e-9
        if every and now - self._saved_epoch >= every:
            return True
        return any(self._saved_epoch < asked <= now for asked in self.job.save_at_epochs)

    def _report_of_now(self) -> Report | None:
        """The last report, if no step was taken since: it may not be in the record yet."""
        last = self._last_report
        return last if last is not None and self.state is not None and last.step == self.state.step else None

    def _save(self, state: TrialState, report: Report | None) -> None:
        """Save the state unless the trial is stopped. report: the last one, maybe not in the record yet."""
        if self._stopped.exists():
            return
        started = time.monotonic()

        def write() -> None:
            last, start = self._checkpoints / LAST_STATE, self.job.start
            self._saved[LAST_STATE] = save_state(
                state, last, report, start=start, ours=self._ours, durable=self.job.durable
            )

        if self._kept(write):
            self._saved_epoch = self._epoch
        self._saved_at = time.monotonic()
        self.saving_s = self._saved_at - started

    def _kept(self, write: Callable[[], None] | None = None) -> bool:
        """Write pending best weights, then call `write`; returns whether both succeeded.

        A full disk does not stop training: it is reported, and the write is tried again at the next save.
        The saved state is never newer than the best weights, so that a lost report is made again.
        """
        try:
            if self._best is not None:
                best = self._checkpoints / BEST_WEIGHTS
                durable = self.job.durable
                self._saved[BEST_WEIGHTS] = write_packed(self._best, best, self._ours, durable=durable)
                self._best = None
            if write is not None:
                write()
        except StaleStartError:
            self.lost, self._best = True, None
            return False
        except StorageError as error:
            self.note(f"not saved: {error}")
            if not self._told_unsaved:
                self._unsaved, self._told_unsaved = str(error), True
            return False
        if self._told_unsaved:
            self.note("saved again")
            self._told_unsaved = False
        return True

    # --- results --------------------------------------------------------------------------------

    def _result(self, *, report: Report | None, done: bool, failure: Failure | None = None) -> TrialResult:
        built, self._built = self._built, None
        head, self._head = self._head, None
        macs, self._macs = self._macs, None
        latency_ms, self._latency_ms = self._latency_ms, None
        still = grouped(self.state.still) if built is not None and self.state is not None else []
        baseline, self._baseline = self._baseline, None
        unsaved, self._unsaved = self._unsaved, None
        saved: dict[str, str] = {}
        if report is not None and failure is None:  # only reports are recorded with them
            saved, self._saved = self._saved, {}
            if self._best is not None:  # as it will be, or it is removed
                saved[BEST_WEIGHTS] = hashlib.sha256(self._best).hexdigest()
        return TrialResult(
            trial=self.job.trial,
            epoch=self._epoch,
            objective=report.objective if report is not None else math.nan,
            report=report if failure is None else None,
            built=built,
            head=head,
            macs=macs,
            latency_ms=latency_ms,
            worker=None if built is None else f"{socket.gethostname()}:{os.getpid()}",
            still=still,
            baseline=baseline,
            saved=saved,
            unsaved=unsaved,
            failure=failure,
            done=done,
        )

    def _log_told(self) -> None:
        """Log what the worker's engine has told since the last report; it concerns all its trials."""
        for text in self._told[self._told_before :]:
            self.note(text)
        self._told_before = len(self._told)


def _first_to(path: Path, trial: int) -> bool:
    """Whether this worker is the first; the file then has the number of its trial."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except OSError:  # it exists, or the disk is full
        return False
    with suppress(OSError), os.fdopen(descriptor, "w") as file:
        file.write(str(trial))
    return True


def _give_back(path: Path, trial: int) -> None:
    """Remove the claim of a trial's worker, unless another one has it by now."""
    with suppress(OSError):
        if path.read_text(encoding="ascii") in ("", str(trial)):  # nothing could be written on a full disk
            path.unlink()
