"""What stops a trial. Every report and every decision is in the ledger before it acts.

`Rule` wraps one of Ray's stopping rules and is fed by trial number, epoch and running objective
alone, so the same calls made from the ledger bring it back to the state it was in.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError
from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, TrialScheduler

from trainables.errors import ClusterError
from trainables.run_folder import CONTROL, STOPPED
from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import SchedulerSpec
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
from tuning.run.ray_searcher import NotKept
from tuning.scheduling.asha import OrderedAsha
from tuning.search.study import Study

POLL_INTERVAL_S = 0.5


@dataclass(frozen=True)
class _Entrant:
    """All that Ray's rules read of a trial."""

    trial_id: str


class Rule:
    """One of Ray's stopping rules, on plain values. `by` names it in the record."""

    def __init__(self, scheduler: TrialScheduler, by: StoppedBy) -> None:
        self.scheduler = scheduler
        self.by = by
        self._entrants: dict[int, _Entrant] = {}
        self._reached: dict[int, float] = {}

    def stops(self, number: int, epoch: float, objective: float) -> bool:
        """Whether the trial ends after this report.

        One that comes again, from a trial that went back to its checkpoint, was decided before.
        """
        if epoch <= self._reached.get(number, -math.inf):
            return False
        self._reached[number] = epoch
        return bool(
            self.scheduler.on_trial_result(None, self._entrant(number), _result(epoch, objective))
            == TrialScheduler.STOP
        )

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """The last report of a trial that has run its epochs; others are compared with it."""
        self.scheduler.on_trial_complete(None, self._entrant(number), _result(epoch, objective))

    def _entrant(self, number: int) -> _Entrant:
        if number not in self._entrants:
            self._entrants[number] = _Entrant(str(number))
            self.scheduler.on_trial_add(None, self._entrants[number])
        return self._entrants[number]


def _result(epoch: float, objective: float) -> dict[str, float]:
    # A rung at 0.6 must see the report at 3/5 of an epoch, however either was rounded.
    return {"epoch": epoch + 1e-9, "objective": objective}


def build_rule(spec: SchedulerSpec, direction: Direction, *, max_epochs: float) -> Rule | None:
    """The experiment's stopping rule; None if it has none, or no report could come before its first rung.

    max_epochs: the most epochs that any trial runs.
    """
    common = {"time_attr": "epoch", "metric": "objective", "mode": direction.value}
    if spec.asha is not None:
        if max_epochs <= spec.asha.grace_epochs:
            return None
        return Rule(
            OrderedAsha(
                max_t=max_epochs,
                grace_period=spec.asha.grace_epochs,
                reduction_factor=spec.asha.reduction_factor,
                **common,
            ),
            StoppedBy.ASHA,
        )
    if spec.median is not None:
        return Rule(
            MedianStoppingRule(
                grace_period=spec.median.grace_epochs,
                min_samples_required=spec.median.min_trials,
                # Below that many trials the rule would pause one, and Ray forgets a paused state.
                min_time_slice=math.inf,
                **common,
            ),
            StoppedBy.MEDIAN,
        )
    return None


class Control:
    """The stop requests that other processes leave in the experiment's folder, and this one's signals.

    halted: says whether a signal has come.  lost: whether Ray has died.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        *,
        halted: Callable[[], bool] = lambda: False,
        lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = folder / CONTROL
        self._halted = halted
        self._lost = lost
        self._clock = clock
        self._looked = -math.inf

    def require_ray(self) -> None:
        """Raises Halt where Ray has died: its workers are gone with it, and none will come."""
        if self._lost():
            raise Halt(
                Ending.FAILED,
                ClusterError(
                    "Ray died: its raylet or its control process was killed, or crashed."
                    " The sweep goes on with `adaptertune resume`"
                ),
            )

    def mark_stopped(self, number: int) -> None:
        """So that its worker, in the middle of an epoch, saves nothing that the record does not know."""
        with suppress(OSError):  # a full disk keeps the worker from saving, too
            self._folder.mkdir(exist_ok=True)
            (self._folder / STOPPED.format(number)).touch()

    def end_asked(self) -> bool:
        """Whether the whole sweep is to end."""
        return None in self.requests()

    def requests(self) -> list[int | None]:
        """Trials to stop, None for the whole sweep; each is given once. Looks twice a second.

        Raises Halt where Ray has died.
        """
        if self._halted():
            return [None]
        if self._clock() - self._looked < POLL_INTERVAL_S:
            return []
        self._looked = self._clock()
        self.require_ray()
        found: list[int | None] = []
        for path in sorted(self._folder.glob("stop*")) if self._folder.is_dir() else []:
            _, _, number = path.name.partition("-")
            if path.name == "stop" or number.isdecimal():
                found.append(int(number) if number else None)
                path.unlink(missing_ok=True)
        return found


class RecordingScheduler(NotKept, FIFOScheduler):  # type: ignore[misc]
    """Between Ray and the rule: records, tells the study, decides.

    retries: times that a trial starts again after its worker died.  each_round: what else is to be done
    in each round of the driver's loop.

    A trial's failure comes in its result; a worker's death through `on_trial_error`. Ray shows a
    scheduler the result of a trial that says it is done only in `on_trial_complete`.
    """

    def __init__(
        self,
        rule: Rule | None,
        sweep: Recorder,
        study: Study,
        control: Control,
        *,
        retries: int = 0,
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._rule = rule
        self._sweep = sweep
        self._study = study
        self._control = control
        self._retries = retries
        self._each_round = each_round
        self._deaths: Counter[int] = Counter()
        self.controller: Any = None

    # --- Ray's calls --------------------------------------------------------------------------

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died. The study proposes its trial once more, as long as that may be tried again.

        Ray's own retries lose a trial whose worker died while the trial was swapped in.
        """
        self._control.require_ray()  # or the death of all would be this one's failure
        number = trial.config["trial"]
        if self._ended(number):
            return
        self._deaths[number] += 1
        if self._deaths[number] > self._retries:
            self._end(number, Outcome.FAILED, death(trial))
        else:
            self._study.propose_again(self._sweep.trial(number))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """A report of a trial that would go on."""
        return str(TrialScheduler.STOP if self._take(trial, result) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """The last report of a trial that is done, or the end of one that was stopped."""
        if not self._ended(trial.config["trial"]):
            self._take(trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial was stopped before it ran."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nothing to choose: Ray starts what is pending in order. Called in each round of its loop."""
        if self.controller is None:
            _keep_one_snapshot(tune_controller._tune_controller)
        self.controller = tune_controller
        for number in self._control.requests():
            if number is None:
                raise Halt(Ending.INTERRUPTED)
            self._stop(tune_controller, number)
        self._each_round()

    # --- records ------------------------------------------------------------------------------

    def _take(self, trial: Any, result: Mapping[str, Any]) -> bool:
        number = trial.config["trial"]
        if built := section(result, "built"):
            self._sweep.record(BuiltRecord(trial=number, parameters=built))
        if (baseline := section(result, "baseline")) and self._sweep.history.baseline is None:
            self._sweep.record(BaselineRecord(metrics=baseline))
        if unsaved := result.get("unsaved"):
            self._sweep.record(UnsavedRecord(trial=number, reason=unsaved))
        if failure := section(result, "failure"):
            if failure.get("unfit"):  # every trial on that node would end so
                raise Halt(
                    Ending.FAILED,
                    ClusterError(f"{failure['reason']}. The sweep goes on with `adaptertune resume`"),
                )
            self._end(number, Outcome(failure["outcome"]), failure.get("reason"))
            return True
        report = section(result, "report")
        objective = float(result["objective"])
        if not math.isfinite(objective):
            self._end(number, Outcome.DIVERGED, f"the objective is {objective}")
            return True
        record = ReportRecord(
            trial=number,
            epoch=float(result["epoch"]),
            objective=objective,
            metrics=section(report, "metrics"),
            outcome=report.get("outcome"),
            **{key: report[key] for key in _COSTS if key in report},
        )
        self._sweep.record(record)
        self._study.report(number, record.epoch, objective)
        return self._decide(record, result, report)

    def _decide(self, record: ReportRecord, result: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
        number, epoch, objective = record.trial, record.epoch, float(record.objective or 0.0)
        if result.get("done"):
            if self._rule is not None:
                self._rule.finish(number, epoch, objective)
            self._end(number, Outcome(report.get("outcome") or Outcome.COMPLETED))
            return True
        if self._rule is not None and self._rule.stops(number, epoch, objective):
            self._sweep.record(StoppedRecord(trial=number, by=self._rule.by, epoch=epoch))
            self._end(number, Outcome.PRUNED)
            return True
        return False

    def _stop(self, controller: Any, number: int) -> None:
        trial = next((t for t in controller.get_live_trials() if t.config["trial"] == number), None)
        if trial is None or self._ended(number):
            return
        self._control.mark_stopped(number)
        epoch = self._sweep.trial(number).epoch
        self._sweep.record(StoppedRecord(trial=number, by=StoppedBy.USER, epoch=epoch))
        self._end(number, Outcome.STOPPED)
        controller.stop_trial(trial)

    def _end(self, number: int, outcome: Outcome, reason: str | None = None) -> None:
        ended = self._sweep.end(number, outcome, reason)
        self._study.tell(number, outcome, ended.value, reason)

    def _ended(self, number: int) -> bool:
        return self._sweep.trial(number).ended is not None


def _keep_one_snapshot(controller: Any) -> None:
    """Ray wants a snapshot to be there when it is done; its last, forced one is 70 KB a trial."""
    save, saved = controller.checkpoint, False

    def checkpoint(force: bool = False, wait: bool = False) -> None:
        nonlocal saved
        if not saved:
            saved = True
            save(force=True, wait=True)

    controller.checkpoint = checkpoint


_COSTS = ("step", "train_s", "evaluate_s", "wait_s", "samples", "peak_mb")


def section(flat: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A nested part of a result that Ray has flattened with `/`; metric names may hold one too."""
    prefix = name + "/"
    found = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
    if not found and isinstance(flat.get(name), Mapping):
        return dict(flat[name])
    return found


def death(trial: Any) -> str:
    """Why Ray gave a trial up, in one line. Its own `get_error` looks where nothing is synchronised to."""
    pickled, text = trial.pickled_error_file, trial.error_file
    error = cloudpickle.loads(Path(pickled).read_bytes()) if pickled and Path(pickled).exists() else None
    said = str(error) if error is not None else Path(text).read_text() if text and Path(text).exists() else ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines or (isinstance(error, RayActorError) and not isinstance(error, ActorDiedError)):
        return "its worker process died"
    if isinstance(error, OutOfMemoryError):
        return "its worker process was killed: the machine ran out of memory"
    if isinstance(error, ActorDiedError) and "creation task" not in lines[0]:
        return "its worker process died: it was killed, or it crashed outside of Python"
    return lines[-1]
