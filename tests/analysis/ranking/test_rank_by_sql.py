"""The ranking by SQL equals the ranking of values, however much of the record is compacted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from edited_records import edit_record
from recorded import DOMAINS, LORA, SCORES, TRIALS, Told, compacted, experiment, write

from analysis.errors import NothingToRankError, QueryError
from analysis.query.sql import opened
from analysis.query.sweep import Sweep
from analysis.ranking.best import rank
from analysis.ranking.best_table import best_json, best_rows, best_table
from analysis.ranking.rank_by_sql import best_in, rank_by_sql
from tuning.ledger.outcomes import Outcome

QUESTIONS: list[dict[str, Any]] = [
    {},
    {"early_stopped": True},
    {"at": 2},
    {"at": 4.0, "metric": "loss"},
    {"metric": "loss"},
    {"metric": "dice/7", "early_stopped": True},
]
FILTERS: list[tuple[dict[str, Any], list[tuple[int, float, float]], dict[str, int]]] = [
    ({"where": "adapter = 'lora'"}, [(0, 0.75, 5.0)], {"pruned": 1, "reused": 1}),
    ({"where": "adapter = 'serial_lora'"}, [(4, 0.74, 2.0)], {"diverged": 1, "pruned": 1}),
    (
        {"where": "lora.rank >= 8 OR metrics.loss < 0.27", "early_stopped": True},
        [(0, 0.75, 5.0), (4, 0.74, 2.0)],
        {"reused": 1},
    ),
    ({"where": "value < 0.5 AND metrics.loss < 0.7", "metric": "loss"}, [(0, 0.25, 5.0), (4, 0.26, 2.0)], {}),
    ({"where": "outcome = 'nothing'"}, [], {}),
    (
        {"where": "dice > 0.3 -- a comment", "at": 1},
        [(4, 0.6, 1.0), (1, 0.35, 1.0), (0, 0.3, 1.0), (2, 0.2, 1.0)],
        {"diverged": 1},
    ),
]
"""Filters; each ranked trial with its value and epoch; by outcome, trials that pass but are not ranked."""


@pytest.fixture(scope="module", params=[0.0, 0.6, 1.0], ids=lambda share: f"{share:.0%} in Parquet")
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "digits"
    of = experiment("digits", data={"embedded": {"domain": "inverted"}, "domains": DOMAINS})
    return compacted(write(folder, TRIALS, of=of, scores=SCORES), request.param)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_trials_with_and_without_partners_are_ranked_together(tmp_path: Path, share: float) -> None:
    trials = (Told(LORA, (0.1, 0.2), lanes=3), Told(LORA | {"lora.rank": 4}, (0.1, 0.3)))
    folder = compacted(write(tmp_path / "packed", trials), share)
    with opened([folder]) as source:
        ranked = rank_by_sql(source, 10).ranked
    lanes = [(trial.number, [report.lanes for report in trial.reports]) for trial, _ in ranked]
    assert lanes == [(1, [1, 1]), (0, [3, 3])]


@pytest.mark.parametrize("how", QUESTIONS, ids=str)
def test_both_rankings_agree(kept: Path, how: dict[str, Any]) -> None:
    values = rank(Sweep.at(kept), **how)
    with opened([kept]) as source:
        rows = rank_by_sql(source, 10, **how)
        few = rank_by_sql(source, 2, **how)
    assert best_json(rows, 10) == best_json(values, 10)
    assert best_table(rows, 10) == best_table(values, 10)
    assert best_rows(few, 2) == best_rows(values, 2)
    assert few.counted == values.counted


@pytest.mark.parametrize(("how", "ranked", "left_out"), FILTERS, ids=str)
def test_a_filter_leaves_the_rest_uncounted(
    kept: Path, how: dict[str, Any], ranked: list[tuple[int, float, float]], left_out: dict[str, int]
) -> None:
    with opened([kept]) as source:
        found, first = rank_by_sql(source, 10, **how), rank_by_sql(source, 1, **how)
    assert [(trial.number, place.value, place.epoch) for trial, place in found.ranked] == ranked
    assert found.left_out == left_out
    assert found.counted == first.counted == len(ranked)
    assert best_rows(first, 1) == best_rows(found, 1)


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("adapter = 'lora'", [0, 1, 6]),
        ("lora.rank >= 8", [0, 6]),
        ('"lora.rank" = 4', [1]),
        ("adapter = 'lora' AND lora.rank IN (4, 16)", [1]),
        ("outcome = 'pruned' AND stopped_by = 'asha'", [1, 5]),
        ("dice > 0.7", [0, 4]),
        ("metrics.loss < 0.3", [0, 4]),
        ('"dice/7" > 0.36', [0, 4]),
        ("value IS NULL", [6]),
        ("freezing = 'head_only'", [2]),
        ("parameters.adapter = 0", [2]),
        ("batch_size = 16 AND ran = 6", [0, 2]),
        ("trial BETWEEN 1 AND 2 -- a comment", [1, 2]),
        ("targets = 'query,key,value'", [3, 4, 5]),
    ],
)
def test_an_expression_chooses_trials(kept: Path, where: str, numbers: list[int]) -> None:
    unranked = {3: "diverged", 6: "reused"}
    with opened([kept]) as source:
        found = rank_by_sql(source, 10, where=where, early_stopped=True)
    assert sorted(trial.number for trial, _ in found.ranked) == [n for n in numbers if n not in unranked]
    assert found.left_out == {unranked[n]: 1 for n in numbers if n in unranked}


@pytest.mark.parametrize(
    ("where", "told"),
    [("test.dice > 0.6", True), ('"test.dice@dim" > 0.1', True), ("adapter <> 'test.x'", False)],
)
def test_a_filter_on_test_figures_is_said_to_choose_by_them(kept: Path, where: str, told: bool) -> None:
    with opened([kept]) as source:
        found = rank_by_sql(source, 3, where=where)
    caption = best_table(found, 3).caption
    assert found.ranked
    assert ("the filter selects by test metrics" in caption) is told
    assert ("Picked on validation images" in caption) is not told
    assert best_json(found, 3)["filtered_on_test"] is told


def test_under_rule_last_the_last_reports_count(tmp_path: Path) -> None:
    folder = compacted(write(tmp_path / "last", of=experiment("last", rule="last")), 1.0)
    values = rank(Sweep.at(folder))
    with opened([folder]) as source:
        assert best_json(rank_by_sql(source, 10), 10) == best_json(values, 10)
        at = rank_by_sql(source, 10, at=4)
    assert [(t.number, s.value) for t, s in at.ranked] == [(4, 0.71), (0, 0.7), (2, 0.3)]


def test_ties_go_to_the_earlier_trial_and_to_its_earlier_epoch(tmp_path: Path) -> None:
    folder = write(tmp_path / "ties", (Told(LORA, (0.2,)), Told(LORA, (0.5, 0.5)), Told(LORA, (0.5,))))
    with opened([folder]) as source:
        for how in ({}, {"at": 1.0}):
            assert [t.number for t, _ in rank_by_sql(source, 3, **how).ranked] == [1, 2, 0]  # type: ignore[arg-type]
        assert rank_by_sql(source, 1, metric="loss").ranked[0][1].epoch == 1.0


def test_the_best_is_one_that_finished_unless_none_has(tmp_path: Path, kept: Path) -> None:
    with opened([kept]) as source:
        _, best, _ = best_in(source)
    assert best.number == 0
    stopped = write(tmp_path / "stopped", (Told(LORA, (0.2,), Outcome.PRUNED), Told(LORA, (0.3,), None)))
    with opened([stopped]) as source:
        recorded, best, ranking = best_in(source)
    assert (recorded.name, best.number) == ("stopped", 1)
    assert "stopped early compete" in ranking.caption
    with opened([write(tmp_path / "empty", ())]) as source, pytest.raises(NothingToRankError):
        best_in(source)


@pytest.mark.parametrize("how", QUESTIONS[:3], ids=str)
def test_before_the_first_report_nothing_is_ranked(tmp_path: Path, how: dict[str, Any]) -> None:
    folder = write(tmp_path / "young", (Told(LORA, (), None),), closed=None)
    with opened([folder]) as source:
        found = rank_by_sql(source, 3, **how)
    assert best_json(found, 3) == best_json(rank(Sweep.at(folder), **how), 3)
    assert found.not_ranked == {"unfinished": 1}
    assert (found.ranked, found.left_out) == ((), {"running": 1})


def test_several_experiments_are_ranked_together_where_they_have_one_objective(tmp_path: Path) -> None:
    first = write(tmp_path / "pets-1")
    second = compacted(write(tmp_path / "pets-2", (Told(LORA, (0.74, 0.8)), Told(LORA, (0.4, 0.5)))), 1.0)
    with opened([first, second]) as source:
        ranking = rank_by_sql(source, 3)
    assert [(t.sweep, t.number) for t, _ in ranking.ranked] == [("pets-2", 0), ("pets-1", 0), ("pets-1", 4)]
    table = best_table(ranking, 3)
    assert table.columns[:3] == ("", "experiment", "trial")
    assert table.rows[0][1] == "pets-2"
    assert table.title == "pets-1, pets-2: best 3 of 5 trials"
    other = write(tmp_path / "pets-3", of=experiment("pets-3", rule="last"))
    with (
        opened([first, other]) as source,
        pytest.raises(QueryError, match=r"pets-1 is ranked by dice \(max, best report\), pets-3 by .*last"),
    ):
        rank_by_sql(source, 3)


def test_a_copy_is_an_experiment_of_its_own(tmp_path: Path) -> None:
    first = write(tmp_path / "one")
    second = tmp_path / "two"
    shutil.copytree(first, second)
    with opened([first, second]) as source:
        assert [t.sweep for t, _ in rank_by_sql(source, 2).ranked] == ["one", "two"]


@pytest.mark.parametrize(
    "where", ["no_such > 1", "adapter =", "adapter = lora", "1); DROP TABLE considered; --", "SELECT"]
)
def test_a_wrong_condition_is_refused_with_an_example(kept: Path, where: str) -> None:
    with opened([kept]) as source, pytest.raises(QueryError, match=r"lora\.rank|one condition"):
        rank_by_sql(source, 1, where=where)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("lora.rnk >= 8", "no column 'lora.rnk'; did you mean 'lora.rank'?"),
        ("rank >= 8", "no column 'rank'; did you mean "),
        ("adaptr = 'lora'", "no column 'adaptr'; did you mean 'adapter'?"),
        ('adapter = "lora"', "if it is text, write 'lora' in single quotes"),
        ("no_such > 1", "no column 'no_such'; the columns of trials are experiment, trial, "),
        ("adapter =", "syntax error"),
    ],
)
def test_a_wrong_name_in_a_condition_is_said_with_the_one_that_was_meant(
    kept: Path, where: str, said: str
) -> None:
    with opened([kept]) as source, pytest.raises(QueryError) as caught:
        rank_by_sql(source, 1, where=where)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"where {where!r}")  # the name of the argument in Python, too
    if "did you mean" in said:
        assert "the columns of" not in str(caught.value)


def test_a_condition_cannot_read_files(kept: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with opened([kept]) as source, pytest.raises(QueryError):
        rank_by_sql(source, 1, where=f"trial IN (SELECT a FROM read_csv('{secret}'))")


def test_one_setting_may_hold_numbers_and_text(tmp_path: Path) -> None:
    ia3 = {"adapter": "peft", "freezing": "frozen", "peft.method": "IA3"}
    trials = (Told(ia3 | {"peft.arguments.x": 1}, (0.2,)), Told(ia3 | {"peft.arguments.x": "two"}, (0.3,)))
    assert chosen(write(tmp_path / "mixed", trials), "\"peft.arguments.x\" = 'two'") == [1]


def test_names_may_differ_in_case_alone(tmp_path: Path) -> None:
    record = write(tmp_path / "cases", (Told(LORA, (0.2,)), Told(LORA, (0.3,))))
    edit_record(record, lambda text: text.replace('"dice/7"', '"Dice"'))
    assert chosen(record, "dice > 0.25") == [1]


def chosen(folder: Path, where: str) -> list[int]:
    with opened([folder]) as source:
        return [trial.number for trial, _ in rank_by_sql(source, 10, where=where).ranked]


def test_an_unknown_figure_names_those_recorded(kept: Path) -> None:
    said = "recorded are dice, loss; by class, as dice/CLASS: 7"
    with opened([kept]) as source, pytest.raises(QueryError, match=said):
        rank_by_sql(source, 1, metric="map")
