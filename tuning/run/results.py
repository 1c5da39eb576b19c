"""Takes the results of trials: records them, passes them to the study, and asks the rule whether to continue.

Every report and every decision is written to the ledger before it takes effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, assert_never

from trainables.errors import ClusterError
from tuning.ledger.outcomes import AT_REST, Ending, Outcome, StoppedBy
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import BaselineRecord, BuiltRecord, ReportRecord, StoppedRecord, UnsavedRecord
from tuning.ledger.report_metrics import ReportMetrics
from tuning.run.stopping.prune import prune
from tuning.scheduling.rule import (
    Continue,
    ObservingRule,
    PopulationRule,
    Rest,
    RestingRule,
    Stop,
    StoppingRule,
)
from tuning.search.study import Study

_AS_REPORTED = ("image_size", "step", "train_s", "evaluate_s", "wait_s", "samples", "peak_mb", "lanes")


class Results:
    """What becomes of the results of trials, whoever runs them."""

    def __init__(self, rule: StoppingRule | None, recorder: Recorder, study: Study) -> None:
        self.rule = rule
        self._recorder = recorder
        self._study = study

    def take(self, number: int, result: Mapping[str, Any]) -> bool:
        """Record a `TrialResult`, as a dictionary; returns whether the trial gives up its worker with it.

        Raises Halt if its node can run no trial, or the disk cannot be written.
        """
        if built := nested_part(result, "built"):
            model = BuiltRecord(
                trial=number,
                parameters=built,
                still=result.get("still") or [],
                head=result.get("head"),
                macs=result.get("macs"),
                latency_ms=result.get("latency_ms"),
                worker=result.get("worker"),
            )
            self._recorder.record(model)
            self._show(model)
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
            self.end(number, Outcome(failure["outcome"]), failure.get("reason"))
            return True
        report = nested_part(result, "report")
        objective = float(result["objective"])
        if not math.isfinite(objective):
            self.end(number, Outcome.DIVERGED, f"the objective is {objective}")
            return True
        record = ReportRecord(
            trial=number,
            epoch=float(result["epoch"]),
            objective=objective,
            metrics=ReportMetrics(nested_part(report, "metrics")),
            above_floor=report.get("above_floor"),
            saved=nested_part(result, "saved"),
            outcome=report.get("outcome"),
            **{key: report[key] for key in _AS_REPORTED if key in report},
        )
        self._recorder.record(record)
        self._show(record)
        self._study.report(number, record.epoch, objective)
        return self._decide(record, result, report)

    def _show(self, record: BuiltRecord | ReportRecord) -> None:
        if isinstance(self.rule, ObservingRule) and not self._recorder.trial(record.trial).continues:
            self.rule.observe(record)

    def _decide(self, record: ReportRecord, result: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
        number, epoch, objective = record.trial, record.epoch, float(record.objective or 0.0)
        rule = None if self._recorder.trial(number).continues else self.rule
        if result.get("done"):
            if rule is not None:
                rule.finish(number, epoch, objective)
            self.end(number, Outcome(report.get("outcome") or Outcome.COMPLETED))
            return True
        if rule is None:
            return False
        decision = rule.decide(number, epoch, objective)
        match decision:
            case Continue():
                return False
            case Stop():
                prune(number, rule, self._recorder, self._study)
                return True
            case Rest():  # it has not ended, so the study is told nothing
                self._recorder.end(number, Outcome.RESTING)
                return True
            case _:
                assert_never(decision)

    def stop(self, number: int) -> None:
        """Record that the user stopped a trial."""
        if isinstance(self.rule, RestingRule):
            self.rule.wake(number)
        epoch = self._recorder.trial(number).epoch
        self._recorder.record(StoppedRecord(trial=number, by=StoppedBy.USER, epoch=epoch))
        self.end(number, Outcome.STOPPED)

    def pause(self, number: int) -> None:
        """Record that a trial gives up its worker until the user lets it continue."""
        if isinstance(self.rule, RestingRule):
            self.rule.wake(number)
        self._recorder.end(number, Outcome.PAUSED)
        self._study.propose_again(self._recorder.trial(number))

    def to_pause(self) -> list[int]:
        """The trials that users have paused, and that still run, or rest by the rule.

        One that waits for its population pauses when that has come as far.
        """
        history = self._recorder.history
        if not history.paused:
            return []
        running = (n for n in self._recorder.unfinished() if history.is_paused(n))
        waits = self.rule.waits if isinstance(self.rule, PopulationRule) else lambda number: False
        resting = (n for n in history.paused if n is not None and self.rests(n) and not waits(n))
        return sorted([*running, *resting])

    def is_paused(self, number: int) -> bool:
        """Whether a trial may not run, as it or the whole sweep is paused."""
        return self._recorder.history.is_paused(number)

    def end(self, number: int, outcome: Outcome, reason: str | None = None) -> None:
        """Record a trial's end, and tell the study."""
        ended = self._recorder.end(number, outcome, reason)
        value = self._recorder.trial(number).told_value
        self._study.tell(number, outcome, value, reason, values=ended.values)

    @property
    def lacks_baseline(self) -> bool:
        """Whether the pretrained baseline is not recorded."""
        return self._recorder.history.baseline is None

    def rests(self, number: int) -> bool:
        """Whether a trial rests by the rule."""
        known = self._recorder.history.trials.get(number)
        return known is not None and known.outcome is Outcome.RESTING

    def at_rest(self, number: int) -> bool:
        """Whether a trial rests by the rule, or is paused."""
        known = self._recorder.history.trials.get(number)
        return known is not None and known.outcome in AT_REST

    def ended(self, number: int) -> bool:
        """Whether a trial has ended, rests or is paused."""
        return self._recorder.trial(number).ended is not None


def nested_part(flat: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a nested part of a result that Ray has flattened with `/`; metric names may contain `/` too."""
    prefix = name + "/"
    found = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
    if not found and isinstance(flat.get(name), Mapping):
        return dict(flat[name])
    return found
