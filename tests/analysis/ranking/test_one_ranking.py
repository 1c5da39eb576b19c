"""On random records SQL, `rank` and `tuning.ranking` give the same order as a direct implementation."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from marks import slow
from random_records import (
    COMPARABLE,
    FINISHED,
    STOPPED,
    Place,
    naive_ranking,
    random_experiment,
    random_records,
    write_random,
)
from recorded import compacted

from analysis.query.sql import Source, opened
from analysis.query.sweep import Sweep
from analysis.ranking.best import Ranking, finished_first, rank
from analysis.ranking.by_adapter import groups
from analysis.ranking.policy_sql import order_sql, ranked_sql
from analysis.ranking.rank_by_sql import best_in, rank_by_sql
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome
from tuning.ranking.order import Entry, best_first
from tuning.ranking.policy import FINISHED_THEN_STOPPED, asked_policy
from tuning.ranking.standing import standing

GROUPS, IN_GROUP = 8, 9
"""The number of seeds; each gives one to four experiments with one objective."""
QUESTIONS = [
    {"metric": metric, "at": at, "early_stopped": early_stopped}
    for metric, at, early_stopped in itertools.product(
        (None, "loss", "dice/7"), (None, 0.5, 1.0, 2.5), (False, True)
    )
]
Named = list[tuple[str, TrialHistory]]


class Recorded:
    """Random experiments on disk, with one objective; a part of each record may be in Parquet."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        asked = random_experiment(self.rng)
        self.folders: list[Path] = []
        for name in self.rng.sample(("b", "a-1", "a", "B"), self.rng.choice((1, 3, 4))):
            mine = asked.model_copy(update={"name": name})
            records = random_records(self.rng, mine, self.rng.randrange(90))
            at = write_random(folder / str(seed) / name, mine, records)
            self.folders.append(compacted(at, self.rng.choice((0.0, 0.0, 0.5, 1.0))))
        self.histories: dict[str, History] = {at.name: read_history(at) for at in self.folders}
        self.sweeps: dict[str, Sweep] = {at.name: Sweep.at(at) for at in self.folders}
        self.trials: Named = [(name, t) for name, h in self.histories.items() for t in h.trials.values()]

    def knows(self, metric: str | None) -> bool:
        """Whether each experiment has a report: no other metric is known without one."""
        return metric is None or all(any(t.reports for t in s.trials) for s in self.sweeps.values())


def places(ranking: Ranking) -> list[Place]:
    return [(trial.sweep, trial.number, found.value, found.epoch) for trial, found in ranking.ranked]


def by_values(recorded: Recorded, how: dict[str, Any]) -> list[tuple[str, int]]:
    """The order of `tuning.ranking`."""
    objective = next(iter(recorded.sweeps.values())).objective_for(how["metric"])
    policy = asked_policy(how["at"], early_stopped=how["early_stopped"])

    def entry(named: tuple[str, TrialHistory]) -> Entry:
        name, trial = named
        found = standing(trial.reports, objective, how["at"])
        return Entry(trial.number, trial.outcome, found and found.value, trial.epoch, name)

    ranked = best_first(recorded.trials, entry, policy, objective.direction)
    return [(name, trial.number) for name, trial in ranked]


def ask(recorded: Recorded, source: Source, how: dict[str, Any]) -> int:
    """Compare all rankings; return the number of ranked trials."""
    ranked = [rank(sweep, **how) for sweep in recorded.sweeps.values()]
    objective = ranked[0].objective
    outcomes = COMPARABLE if how["early_stopped"] or how["at"] is not None else FINISHED
    expected = naive_ranking(recorded.trials, objective, [outcomes], how["at"])
    most = recorded.rng.choice((2, 100))
    found = rank_by_sql(source, most, **how, reports=False)
    assert places(found) == expected[:most]
    assert found.counted == len(expected)
    assert by_values(recorded, how) == [place[:2] for place in expected]
    for name, each in zip(recorded.sweeps, ranked, strict=True):
        assert places(each) == [place for place in expected if place[0] == name]
    left_out: dict[str, int] = {}
    for each in ranked:
        for outcome, number in each.left_out.items():
            left_out[outcome] = left_out.get(outcome, 0) + number
    assert found.left_out == left_out
    return len(expected)


@pytest.mark.parametrize("group", [0, *(slow(group) for group in range(1, GROUPS))])
def test_all_rankings_of_random_records_are_one(group: int, tmp_path: Path) -> None:
    sizes = []
    for seed in range(group * IN_GROUP, (group + 1) * IN_GROUP):
        recorded = Recorded(seed, tmp_path)
        with opened(recorded.folders, threads=1) as source:
            for how in recorded.rng.sample(QUESTIONS, 3):
                if recorded.knows(how["metric"]):
                    sizes.append(ask(recorded, source, how))
    assert sum(size > 2 for size in sizes) > len(sizes) / 4


def test_a_policy_of_two_classes_is_translated_too(tmp_path: Path) -> None:
    ranked: Counter[Outcome | None] = Counter()
    for seed in range(10):
        recorded = Recorded(seed, tmp_path)
        objective = next(iter(recorded.sweeps.values())).objective
        sql = (
            f"SELECT experiment, trial FROM trials WHERE {ranked_sql(FINISHED_THEN_STOPPED)}"
            f" ORDER BY {order_sql(FINISHED_THEN_STOPPED, objective.direction)}"
        )
        with opened(recorded.folders, threads=1) as source:
            found = source.ask(sql).fetchall()
        expected = naive_ranking(recorded.trials, objective, [FINISHED, STOPPED])
        assert found == [place[:2] for place in expected]
        ranked.update(trial.outcome for name, trial in recorded.trials if (name, trial.number) in found)
    assert set(ranked) == {*FINISHED, *STOPPED}


def test_the_best_of_a_name_is_the_first_that_finished_or_else_of_all(tmp_path: Path) -> None:
    finished, fallen_back = 0, 0
    for seed in range(12):
        recorded = Recorded(seed, tmp_path)
        for folder in recorded.folders:
            sweep, trials = recorded.sweeps[folder.name], recorded.histories[folder.name].trials.values()
            named = [(folder.name, trial) for trial in trials]
            first = naive_ranking(named, sweep.objective, [FINISHED])
            rest = naive_ranking(named, sweep.objective, [COMPARABLE])
            assert places(finished_first(sweep)) == (first or rest)
            if first or rest:
                with opened([folder], threads=1) as source:
                    _, trial, _ = best_in(source)
                assert trial.number == (first or rest)[0][1]
            finished += bool(first)
            fallen_back += bool(rest and not first)
    assert min(finished, fallen_back) > 3


def test_the_table_by_adapter_has_the_first_of_the_ranking(tmp_path: Path) -> None:
    for seed in range(20):
        for sweep in Recorded(seed, tmp_path).sweeps.values():
            ranked = rank(sweep).ranked
            found = [group.best for group in groups(sweep) if group.best is not None]
            assert found == list(ranked[:1])  # all trials have one adapter
