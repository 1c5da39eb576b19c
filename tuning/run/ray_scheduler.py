"""Ray Tune's scheduler over our stopping rule: takes the reports of trials, and ends those that must end.

Every report and every decision is written to the ledger before it takes effect.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, assert_never

from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.errors import ClusterError
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import (
    BaselineRecord,
    BuiltRecord,
    Ending,
    Outcome,
    ReportRecord,
    StoppedBy,
    StoppedRecord,
    UnsavedRecord,
)
from tuning.run.control import Control
from tuning.run.ray_searcher import NotKept
from tuning.scheduling.rule import Continue, Stop, StoppingRule
from tuning.search.study import Study


class RecordingScheduler(NotKept, FIFOScheduler):  # type: ignore[misc]
    """Records each report, passes it to the study, and asks the rule whether the trial continues.

    retries: times that a trial starts again after its worker died.  each_round: called in each round of
    the driver's loop.

    A trial's failure is part of its result; a worker's death is reported through `on_trial_error`. Ray
    passes the result of a trial that is done only to `on_trial_complete`.
    """

    def __init__(
        self,
        rule: StoppingRule | None,
        recorder: Recorder,
        study: Study,
        control: Control,
        *,
        retries: int = 0,
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._rule = rule
        self._recorder = recorder
        self._study = study
        self._control = control
        self._retries = retries
        self._each_round = each_round
        self._deaths: Counter[int] = Counter()
        self.controller: Any = None

    # --- Ray's calls --------------------------------------------------------------------------

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died: the study proposes its trial again, unless that has used up its retries.

        Ray's own retries lose a trial if its worker dies while the trial is swapped in.
        """
        self._control.require_ray()  # otherwise Ray's death would count as this trial's failure
        number = trial.config["trial"]
        if self._ended(number):
            return
        self._deaths[number] += 1
        if self._deaths[number] > self._retries:
            self._end(number, Outcome.FAILED, death_reason(trial))
        else:
            self._study.propose_again(self._recorder.trial(number))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """A report of a trial that is not done."""
        return str(TrialScheduler.STOP if self._take(trial, result) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """The last report of a trial that is done, or the end of a trial that was stopped."""
        if not self._ended(trial.config["trial"]):
            self._take(trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial was stopped before it ran; nothing to do."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Choose nothing: Ray starts pending trials in order. Called in each round of Ray's loop."""
        if self.controller is None:
            _keep_one_snapshot(tune_controller._tune_controller)  # private; checked against Ray 2.60
        self.controller = tune_controller
        for number in self._control.requests():
            if number is None:
                raise Halt(Ending.INTERRUPTED)
            self._stop(tune_controller, number)
        self._each_round()

    # --- records ------------------------------------------------------------------------------

    def _take(self, trial: Any, result: Mapping[str, Any]) -> bool:
        number = trial.config["trial"]
        if built := nested_part(result, "built"):
            self._recorder.record(
                BuiltRecord(
                    trial=number,
                    parameters=built,
                    still=result.get("still") or [],
                    head=result.get("head"),
                )
            )
        if (baseline := nested_part(result, "baseline")) and self._recorder.history.baseline is None:
            self._recorder.record(BaselineRecord(metrics=baseline))
        if unsaved := result.get("unsaved"):
            self._recorder.record(UnsavedRecord(trial=number, reason=unsaved))
        if failure := nested_part(result, "failure"):
            if failure.get("unfit"):  # every trial on that node would fail like this
                raise Halt(
                    Ending.FAILED,
                    ClusterError(f"{failure['reason']}. Continue the sweep with `adaptertune resume`"),
                )
            self._end(number, Outcome(failure["outcome"]), failure.get("reason"))
            return True
        report = nested_part(result, "report")
        objective = float(result["objective"])
        if not math.isfinite(objective):
            self._end(number, Outcome.DIVERGED, f"the objective is {objective}")
            return True
        record = ReportRecord(
            trial=number,
            epoch=float(result["epoch"]),
            objective=objective,
            metrics=nested_part(report, "metrics"),
            above_floor=report.get("above_floor"),
            outcome=report.get("outcome"),
            **{key: report[key] for key in _COSTS if key in report},
        )
        self._recorder.record(record)
        self._study.report(number, record.epoch, objective)
        return self._decide(record, result, report)

    def _decide(self, record: ReportRecord, result: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
        number, epoch, objective = record.trial, record.epoch, float(record.objective or 0.0)
        if result.get("done"):
            if self._rule is not None:
                self._rule.finish(number, epoch, objective)
            self._end(number, Outcome(report.get("outcome") or Outcome.COMPLETED))
            return True
        if self._rule is None:
            return False
        decision = self._rule.decide(number, epoch, objective)
        match decision:
            case Continue():
                return False
            case Stop():
                self._recorder.record(StoppedRecord(trial=number, by=self._rule.by, epoch=epoch))
                self._end(number, Outcome.PRUNED)
                return True
            case _:
                assert_never(decision)

    def _stop(self, controller: Any, number: int) -> None:
        trial = next((t for t in controller.get_live_trials() if t.config["trial"] == number), None)
        if trial is None or self._ended(number):
            return
        self._control.mark_stopped(number)
        epoch = self._recorder.trial(number).epoch
        self._recorder.record(StoppedRecord(trial=number, by=StoppedBy.USER, epoch=epoch))
        self._end(number, Outcome.STOPPED)
        controller.stop_trial(trial)

    def _end(self, number: int, outcome: Outcome, reason: str | None = None) -> None:
        ended = self._recorder.end(number, outcome, reason)
        self._study.tell(number, outcome, ended.value, reason)

    def _ended(self, number: int) -> bool:
        return self._recorder.trial(number).ended is not None


def _keep_one_snapshot(controller: Any) -> None:
    """Let Ray write one snapshot, which it requires to exist at its end; its last one takes 70 KB a trial."""
    save, saved = controller.checkpoint, False

    def checkpoint(force: bool = False, wait: bool = False) -> None:
        nonlocal saved
        if not saved:
            saved = True
            save(force=True, wait=True)

    controller.checkpoint = checkpoint


_COSTS = ("step", "train_s", "evaluate_s", "wait_s", "samples", "peak_mb")


def nested_part(flat: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a nested part of a result that Ray has flattened with `/`; metric names may contain `/` too."""
    prefix = name + "/"
    found = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
    if not found and isinstance(flat.get(name), Mapping):
        return dict(flat[name])
    return found


def death_reason(trial: Any) -> str:
    """Return in one line why Ray gave up a trial.

    Ray's own `get_error` reads from the sweep's storage, to which nothing is synchronised.
    """
    pickled, text = trial.pickled_error_file, trial.error_file  # private; checked against Ray 2.60
    error = cloudpickle.loads(Path(pickled).read_bytes()) if pickled and Path(pickled).exists() else None
    message = str(error) if error is not None else ""
    if error is None and text and Path(text).exists():
        message = Path(text).read_text()
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines or (isinstance(error, RayActorError) and not isinstance(error, ActorDiedError)):
        return "its worker process died"
    if isinstance(error, OutOfMemoryError):
        return "its worker process was killed: the machine ran out of memory"
    if isinstance(error, ActorDiedError) and "creation task" not in lines[0]:
        return "its worker process died: it was killed, or it crashed outside of Python"
    return lines[-1]
