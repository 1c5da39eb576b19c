"""The values of a trial's objectives and constraints, from its lines in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.goals import Goal, Goals
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_history
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import (
    BuiltRecord,
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    StartedRecord,
)
from tuning.ledger.trial_values import TrialValues, values_of

GIVEN = """{"name": "a", "task": "segmentation", "objective": {"metric": "dice"},
 "further": [{"metric": "parameters"}, {"metric": "macs"}, {"metric": "iou"}],
 "constraints": {"peak_mb": {"at_most": 250}}}"""
EXPERIMENT = Experiment.model_validate_json(GIVEN)
HEADER = ExperimentRecord(name="a", file="", experiment=EXPERIMENT.model_dump(mode="json"))
BUILT = BuiltRecord(trial=0, parameters={"adapter": 7, "head": 3, "backbone": 0, "total": 99}, macs=500)


def report(epoch: float, objective: float, iou: float, peak_mb: float) -> ReportRecord:
    metrics = {"dice": objective, "iou": iou}
    return ReportRecord(trial=0, epoch=epoch, step=1, objective=objective, metrics=metrics, peak_mb=peak_mb)


STARTED = StartedRecord(trial=0, params={}, hash="h")
REPORTS = [report(1.0, 0.3, 0.1, 200.0), report(2.0, 0.6, 0.5, 300.0), report(3.0, 0.6, 0.9, 100.0)]


def history(*records: Record) -> History:
    return History.of(HEADER, [STARTED, *records])


@pytest.mark.parametrize(("rule", "iou"), [(ValueRule.BEST, 0.5), (ValueRule.LAST, 0.9)])
def test_metrics_are_those_of_one_report_and_costs_of_the_whole_trial(rule: ValueRule, iou: float) -> None:
    goals = Goals.of(EXPERIMENT)
    goals = Goals(goals.objectives, goals.constraints, rule)
    trial = history(BUILT, *REPORTS).trials[0]
    expected = {"dice": 0.6, "parameters": 10.0, "macs": 500.0, "iou": iou, "peak_mb": 300.0}
    assert values_of(trial, goals) == expected


def test_what_is_not_known_is_left_out() -> None:
    goals = Goals((Goal("dice", Direction.MAXIMIZE), Goal("macs", Direction.MINIMIZE)))
    assert values_of(history().trials[0], goals) == {}
    assert values_of(history(REPORTS[0]).trials[0], goals) == {"dice": 0.3}


def test_a_latency_that_is_measured_again_does_not_count() -> None:
    """A trial that starts again measures again; what was recorded first stays, whoever reads it."""
    goals = Goals((Goal("dice", Direction.MAXIMIZE), Goal("latency_ms", Direction.MINIMIZE)))
    first, again = (BUILT.model_copy(update={"latency_ms": ms}) for ms in (2.5, 4.0))
    trial = history(BUILT, first, REPORTS[0], STARTED, again, REPORTS[1]).trials[0]
    assert values_of(trial, goals) == {"dice": 0.6, "latency_ms": 2.5}
    followed = TrialValues(goals)
    for record in (BUILT, first, again):
        followed.built(record)
    assert followed.values == {"latency_ms": 2.5}


def test_a_trial_ends_with_its_values_and_with_the_constraints_that_it_breaks(tmp_path: Path) -> None:
    with Ledger.create(tmp_path, HEADER) as ledger:
        recorder = Recorder(ledger, History(HEADER))
        for record in (STARTED, BUILT, *REPORTS):
            recorder.record(record)
        recorder.end(0, Outcome.COMPLETED)
        recorder.record(StartedRecord(trial=1, params={}, hash="h"))
        again = recorder.end(1, Outcome.REUSED, reuses=0)
        recorder.record(StartedRecord(trial=2, params={}, hash="g"))
        failed = recorder.end(2, Outcome.FAILED, "it broke")
    ended = read_history(tmp_path).trials[0].ended
    assert isinstance(ended, EndedRecord)
    assert ended.values == {"dice": 0.6, "parameters": 10.0, "macs": 500.0, "iou": 0.5, "peak_mb": 300.0}
    assert ended.broken == ["peak_mb"]
    assert (again.values, again.broken) == (ended.values, ended.broken)
    assert (failed.values, failed.broken) == ({}, [])


def test_with_one_objective_a_line_is_as_before(tmp_path: Path) -> None:
    header = ExperimentRecord(name="a", file="", experiment={})
    with Ledger.create(tmp_path, header) as ledger:
        recorder = Recorder(ledger, History(header))
        recorder.record(STARTED)
        recorder.record(REPORTS[0])
        ended = recorder.end(0, Outcome.COMPLETED)
    assert (ended.value, ended.values, ended.broken) == (0.3, {}, [])
