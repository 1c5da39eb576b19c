"""Carries out what `reconcile` decides for the trials of a resumed record."""

from __future__ import annotations

from typing import assert_never

from trainables.run_folder import LAST_STATE
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import StartedRecord, StoppedRecord
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.run.composition import Composition
from tuning.run.reconcile import ContinueTrial, EndTrial, RestTrial, RetryTrial, reconcile, replay
from tuning.scheduling.rule import RestingRule, StoppingRule


def settle(of: Composition, rule: StoppingRule | None) -> None:
    """Restore the state of `rule` from the ledger, and carry out the decisions that it already holds."""
    if not of.past:
        return
    history, recorder = of.recorder.history, of.recorder
    checkpoints = checkpoint_root(of.experiment, of.folder)
    kept = {
        number
        for number, trial in history.trials.items()
        if not trial.over and (trial_folder(checkpoints, number) / LAST_STATE).exists()
    }
    stopped = replay(of.past, rule)
    resting = rule.resting if isinstance(rule, RestingRule) else ()
    for action in reconcile(history, stopped, kept, resting=resting, retry_failed=of.retry_failed):
        trial = recorder.trial(action.trial)
        match action:
            case EndTrial():
                if action.asked and rule is not None:
                    recorder.record(StoppedRecord(trial=trial.number, by=rule.by, epoch=trial.epoch))
                recorder.end(trial.number, action.outcome, reuses=action.of)
            case RetryTrial():
                recorder.record(
                    StartedRecord(
                        trial=trial.number, params=dict(trial.params), hash=trial.hash, parent=trial.parent
                    )
                )
            case RestTrial():
                if action.asked:
                    recorder.end(trial.number, Outcome.RESTING)
            case ContinueTrial():  # the study proposes it again, under its number
                pass
            case _:
                assert_never(action)
