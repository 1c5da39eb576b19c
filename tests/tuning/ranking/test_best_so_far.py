from __future__ import annotations

import random
from collections.abc import Iterator

from random_records import (
    COMPARABLE,
    FINISHED,
    header_of,
    naive_ranking,
    random_experiment,
    random_records,
)

from analysis.query.sweep import Sweep
from analysis.ranking.best import rank
from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord
from tuning.ranking.best_so_far import BestSoFar, BestTrial
from tuning.ranking.order import best_first, recorded_entry
from tuning.ranking.policy import live_policy
from tuning.ranking.standing import Objective


def observed(seed: int) -> Iterator[tuple[Experiment, BestSoFar, History]]:
    """The best so far and the history after each record of a random sweep."""
    rng = random.Random(seed)
    asked = random_experiment(rng)
    workload = asked.workload
    live, history = BestSoFar(workload.direction, workload.objective.value), History(header_of(asked))
    for record in random_records(rng, asked):
        history = history.with_record(record)
        if isinstance(record, StartedRecord | ReportRecord | EndedRecord):
            live.observe(history.trials[record.trial], history.trials.values())
        yield asked, live, history


def test_the_best_so_far_is_the_first_of_the_ranking_after_each_record() -> None:
    changes: set[tuple[int, BestTrial | None]] = set()
    for seed in range(150):
        for asked, live, history in observed(seed):
            objective = Objective.of(asked.workload)
            last = objective.rule is ValueRule.LAST
            named = [("", trial) for trial in history.trials.values()]
            expected = naive_ranking(named, objective, [FINISHED if last else COMPARABLE])
            trials = history.trials.values()
            ranked = best_first(trials, recorded_entry, live_policy(objective.rule), objective.direction)
            assert [trial.number for trial in ranked] == [place[1] for place in expected]
            first = None
            if ranked:
                assert expected[0][2] == ranked[0].value
                first = BestTrial(ranked[0].number, expected[0][2], ranked[0].epoch)
            assert live.best == first
            changes.add((seed, first))
    assert len(changes) > 500


def test_it_is_what_best_answers_about_the_record_as_it_is_then() -> None:
    """`best` under rule `last`; `best --early-stopped` under rule `best`."""
    found = 0
    for seed in range(30):
        for step, (asked, live, history) in enumerate(observed(seed)):
            if step % 5 == 0:
                early_stopped = asked.objective.value is ValueRule.BEST
                ranked = rank(Sweep.of(history), early_stopped=early_stopped).ranked
                expected = (ranked[0][0].number, ranked[0][1].value) if ranked else None
                assert (live.best and (live.best.trial, live.best.value)) == expected
                found += bool(ranked)
    assert found > 100


def test_all_trials_are_compared_only_when_the_best_one_becomes_worse() -> None:
    live = BestSoFar(Direction.MAXIMIZE, ValueRule.BEST)

    def ended(number: int, value: float | None, outcome: Outcome = Outcome.COMPLETED) -> TrialHistory:
        end = EndedRecord(trial=number, outcome=outcome, value=value, epoch=1.0)
        return TrialHistory(number, {}, "", 0.0, ended=end)

    def no_trials() -> Iterator[TrialHistory]:
        raise AssertionError("all trials were compared")
        yield

    for number, value in enumerate((0.3, 0.5, 0.4, 0.5, None)):
        live.observe(ended(number, value), no_trials())
    live.observe(ended(1, 0.6), no_trials())
    assert live.best == BestTrial(1, 0.6, 1.0)
    live.observe(ended(1, None, Outcome.DIVERGED), [ended(3, 0.5), ended(0, 0.3), ended(2, 0.5)])
    assert live.best == BestTrial(2, 0.5, 1.0)
