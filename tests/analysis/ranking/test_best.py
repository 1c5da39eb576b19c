from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import LORA, TRIALS, Told, experiment, write

from analysis.errors import NothingToRankError
from analysis.query.sweep import Sweep
from analysis.ranking.best import best_of, finished_first, rank
from analysis.ranking.best_table import best_json, best_table
from tuning.ledger.outcomes import Outcome


def order(sweep: Sweep, **how: object) -> list[int]:
    return [trial.number for trial, _ in rank(sweep, **how).ranked]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("last") / "digits"
    return Sweep.at(write(folder, TRIALS, of=experiment("digits", rule="last")))


def test_only_trials_that_ran_to_their_own_end_are_ranked_and_the_others_counted(sweep: Sweep) -> None:
    ranking = rank(sweep)
    assert [t.number for t, _ in ranking.ranked] == [0, 4, 2]
    assert ranking.left_out == {"diverged": 1, "pruned": 2, "reused": 1}
    assert ranking.caption == (
        "dice on validation images, highest first, each trial's best report;"
        " budgets differ: they ran 4 to 6 epochs. Not ranked: 1 diverged, 2 pruned, 1 reused"
    )


def test_those_that_were_stopped_early_compete_where_that_is_asked_for(sweep: Sweep) -> None:
    ranking = rank(sweep, early_stopped=True)
    assert [t.number for t, _ in ranking.ranked] == [0, 4, 1, 2, 5]
    assert ranking.left_out == {"diverged": 1, "reused": 1}
    assert "trials that were stopped early compete; budgets differ: they ran 1 to 6 epochs" in ranking.caption


def test_the_best_of_all_is_one_that_finished_unless_none_has(sweep: Sweep, tmp_path: Path) -> None:
    assert finished_first(sweep).ranked[0][0].number == 0
    stopped = write(tmp_path / "stopped", (Told(LORA, (0.2,), Outcome.PRUNED), Told(LORA, (0.3,), None)))
    ranking = finished_first(Sweep.at(stopped))
    assert [t.number for t, _ in ranking.ranked] == [1, 0]
    assert "stopped early compete" in ranking.caption


def test_rule_last_ranks_only_trials_that_ran_to_their_own_end(last: Sweep) -> None:
    ranking = rank(last)
    assert [t.number for t, _ in ranking.ranked] == [0, 4, 2]
    assert [s.value for _, s in ranking.ranked] == [0.72, 0.71, 0.32]
    assert ranking.left_out == {"diverged": 1, "pruned": 2, "reused": 1}


@pytest.mark.parametrize(("at", "numbers"), [(1, [4, 1, 0, 2, 5]), (2, [4, 0, 1, 2]), (6, [0, 2])])
def test_at_one_budget_all_that_came_so_far_compete(sweep: Sweep, at: float, numbers: list[int]) -> None:
    assert order(sweep, at=at) == numbers
    assert f"best report up to epoch {at}" in rank(sweep, at=at).caption


def test_at_one_budget_under_rule_last_the_report_there_counts(last: Sweep) -> None:
    ranking = rank(last, at=4)
    assert [(t.number, s.value) for t, s in ranking.ranked] == [(4, 0.71), (0, 0.7), (2, 0.3)]
    assert "report at epoch 4" in ranking.caption


def test_another_metric_is_ranked_in_its_own_direction(sweep: Sweep) -> None:
    ranking = rank(sweep, metric="loss", early_stopped=True)
    assert [t.number for t, _ in ranking.ranked] == [0, 4, 1, 2, 5]
    assert ranking.ranked[0][1].value == pytest.approx(0.25)
    assert "loss on validation images, lowest first" in ranking.caption
    assert rank(sweep, metric="dice/7").ranked[0][1].value == pytest.approx(0.375)


def test_ties_go_to_the_earlier_trial(tmp_path: Path) -> None:
    record = write(tmp_path / "ties", (Told(LORA, (0.2,)), Told(LORA, (0.5,)), Told(LORA, (0.5,))))
    assert order(Sweep.at(record)) == [1, 2, 0]


def test_nothing_to_rank_says_why(tmp_path: Path) -> None:
    with pytest.raises(NothingToRankError, match="none has started, or none passes"):
        best_of(rank(Sweep.at(write(tmp_path / "empty", ()))))
    pruned = write(tmp_path / "pruned", (TRIALS[1],), of=experiment("pruned", rule="last"))
    with pytest.raises(NothingToRankError, match=r"1 pruned.*--at EPOCH.*--early-stopped"):
        best_of(rank(Sweep.at(pruned)))
    failed = write(tmp_path / "failed", (Told(LORA, (), Outcome.FAILED, "no"),))
    with pytest.raises(NothingToRankError, match=r"1 failed.*status"):
        best_of(rank(Sweep.at(failed)))


def test_table_and_json_show_how_far_each_trial_came(sweep: Sweep) -> None:
    table = best_table(rank(sweep), top=2)
    assert [row[:6] for row in table.rows] == [
        ("1", "0", "0.7500", "5", "6 of 6", "completed"),
        ("2", "4", "0.7400", "2", "4 of 6", "early_stopped"),
    ]
    assert table.title == "digits: best 2 of 3 trials"
    said = json.loads(json.dumps(best_json(rank(sweep), top=1)))
    assert said["value_rule"] == "best"
    assert said["measured_on"] == "validation"
    assert said["not_ranked"] == {"diverged": 1, "pruned": 2, "reused": 1}
    (first,) = said["trials"]
    assert (first["trial"], first["epoch"], first["ran_epochs"], first["of_epochs"]) == (0, 5.0, 6.0, 6.0)
    assert (first["best"], first["best_epoch"], first["last"], first["last_epoch"]) == (0.75, 5.0, 0.72, 6.0)
    assert first["params"]["lora.rank"] == 8
    assert first["metrics"]["dice/7"] == 0.375
