"""Ends a trial early because the stopping rule says so: recorded first, then told to the study."""

from __future__ import annotations

from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import StoppedRecord
from tuning.scheduling.rule import StoppingRule
from tuning.search.study import Study


def prune(number: int, rule: StoppingRule, recorder: Recorder, study: Study) -> None:
    """End a trial as pruned at its last report."""
    recorder.record(StoppedRecord(trial=number, by=rule.by, epoch=recorder.trial(number).epoch))
    ended = recorder.end(number, Outcome.PRUNED)
    study.tell(number, Outcome.PRUNED, recorder.trial(number).told_value, values=ended.values)
