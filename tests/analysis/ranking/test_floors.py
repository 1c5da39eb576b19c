"""Every table says what a constant predictor reaches, and which trials are no better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import AFTER, BEFORE, DOMAINS, FLOORS, LORA, Told, compacted, experiment, write

from analysis.errors import QueryError
from analysis.query.sql import opened
from analysis.query.sweep import Sweep
from analysis.ranking.best import rank
from analysis.ranking.best_table import best_json, best_table
from analysis.ranking.by_adapter import adapter_table, against_baseline
from analysis.ranking.domains import domain_json, domain_table
from analysis.ranking.pareto import pareto, pareto_json, pareto_table
from analysis.ranking.rank_by_sql import rank_by_sql
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ScoredRecord

DATA = {"embedded": {"domain": "inverted"}, "domains": DOMAINS}
TRIALS = (
    # The best value is that of a model that finds nothing; the first report of the second does better.
    Told(
        LORA | {"lora.rank": 4, "learning_rate": 0.002}, (0.2, 0.31), above_floor=((-0.2, 0.0), (-0.1, 0.1))
    ),
    Told(
        LORA | {"lora.rank": 8, "learning_rate": 0.002}, (0.30, 0.29), above_floor=((0.01, 0.2), (-0.1, 0.2))
    ),
)
SCORES = (
    ScoredRecord(
        trial=0, epoch=2.0, metrics={"dice": 0.21}, domains={"noisy": {"dice": 0.3}, "dim": {"dice": 0.2}},
        robustness={"noisy": 0.0, "dim": 0.0},
        above_floor={"dice": (-0.1, 0.1), "dice@noisy": (-0.1, 0.1), "dice@dim": (-0.1, 0.1)},
    ),
    ScoredRecord(
        trial=1, epoch=1.0, metrics={"dice": 0.6}, domains={"noisy": {"dice": 0.5}, "dim": {"dice": 0.21}},
        robustness={"noisy": 0.5, "dim": 0.025},
        above_floor={"dice": (0.3, 0.5), "dice@noisy": (0.1, 0.3), "dice@dim": (-0.01, 0.02)},
    ),
)  # fmt: skip


def asked(name: str, metric: str = "dice", definitions: dict[str, int] | None = None) -> Experiment:
    return experiment(
        name, epochs=2, data=DATA, objective={"metric": metric}, definitions=definitions or AFTER,
        scoring={"trials": "each"},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    of = asked("cells")
    return write(tmp_path / "cells", TRIALS, of=of, scores=SCORES, floors=FLOORS, baseline=0.25)


def test_best_names_the_floors_and_marks_what_has_collapsed(folder: Path) -> None:
    sweep = Sweep.at(folder)
    table = best_table(rank(sweep), 10)
    outcome = table.columns.index("outcome")
    assert [(row[1], row[outcome]) for row in table.rows] == [
        ("0", "completed, collapsed"),
        ("1", "completed"),
    ]
    assert (
        "Floor, what the best constant predictor reaches: dice 0.3000 on validation images and 0.2000 on test"
        " images" in table.caption
    )
    assert "collapsed: no better than a constant predictor" in table.caption
    said = json.loads(json.dumps(best_json(rank(sweep), 10)))
    assert said["definitions"]["cells"]["dice"] == "2: mean over the foreground classes"
    first, second = said["trials"]
    assert (first["floor"], first["test_floor"], first["collapsed"]) == (0.3, 0.2, True)
    assert (second["above_floor"], second["collapsed"]) == ([0.01, 0.2], False)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("at", [None, 1.0, 2.0])
def test_the_ranking_by_sql_gives_the_same(folder: Path, share: float, at: float | None) -> None:
    expected = rank(Sweep.at(folder), at=at)
    with opened([compacted(folder, share)]) as source:
        found = rank_by_sql(source, 10, at=at)
        assert found.floors == expected.floors
        assert [s for _, s in found.ranked] == [s for _, s in expected.ranked]
        assert [s.collapsed for _, s in found.ranked] == [s.collapsed for _, s in expected.ranked]
        other = rank_by_sql(source, 10, metric="dice/7", reports=False)
        assert [s.collapsed for _, s in other.ranked] == [True, False]
        assert "dice/7 0.1000 on validation images" in best_table(other, 10).caption
        assert "95 % interval of dice minus the floor" in best_table(other, 10).caption
        answer = source.ask("SELECT trial, collapsed, above_floor_low FROM trials ORDER BY trial").fetchall()
        assert answer == [(0, True, -0.1), (1, False, 0.01)]


def test_by_adapter_counts_what_has_collapsed_and_names_the_floor(folder: Path) -> None:
    sweep = Sweep.at(folder)
    table = adapter_table(sweep)
    assert [row[-1] for row in table.rows] == ["2 completed; 1 collapsed", "not trained"]
    assert "dice 0.3000 on validation images" in table.caption
    assert "collapsed: no better" in table.caption


def test_better_than_the_baseline_means_further_above_the_floor(folder: Path) -> None:
    sweep = Sweep.at(folder)  # the baseline has 0.25, the floor is 0.3
    assert against_baseline(sweep, 0.29).startswith("no better than the pretrained baseline")
    assert against_baseline(sweep, 0.31) == (
        "better than the pretrained baseline: dice 0.2500 before, 0.3100 after, where a constant predictor"
        " reaches 0.3000"
    )


def test_domains_has_a_row_of_floors_and_measures_robustness_above_them(folder: Path) -> None:
    sweep = Sweep.at(folder)
    table = domain_table(sweep)
    assert table.columns[4:] == ("validation dice", "in domain", "noisy", "dim")
    rows = {row[2] or row[0]: row[4:] for row in table.rows}
    assert rows == {
        "0": ("0.3100 (collapsed)", "0.2100 (collapsed)", "0.3000 (collapsed)", "0.2000 (collapsed)"),
        "floor": ("0.3000", "0.2000", "0.3000", "0.2000"),
    }
    assert "each minus its floor" in table.caption
    assert "collapsed: no better" in table.caption


def test_a_trial_that_is_worth_something_has_shares_and_is_marked_where_it_has_collapsed(
    tmp_path: Path,
) -> None:
    sweep = Sweep.at(write(tmp_path / "s", TRIALS[1:], of=asked("s"), scores=[
        SCORES[1].model_copy(update={"trial": 0})], floors=FLOORS))  # fmt: skip
    table = domain_table(sweep)
    assert table.rows[0][4:] == ("0.3000", "0.6000", "0.5000 (0.50)", "0.2100 (0.02, collapsed)")
    said = json.loads(json.dumps(domain_json(sweep)))
    assert said["rows"][0]["relative"] == pytest.approx({"noisy": 0.5, "dim": 0.025})
    assert said["rows"][0]["collapsed"] == {"dice": False, "dice@noisy": False, "dice@dim": True}
    assert said["floors"]["test@noisy"] == {"dice": 0.3}
    assert said["definitions"]["robustness"].startswith("2: ")


@pytest.mark.parametrize(
    ("metric", "shown"),
    [("dice", "dice"), ("dice/7", "dice/7"), ("dice@noisy", "dice"), ("dice/7@noisy", "dice/7"),
     ("robustness@noisy", "dice"), ("robustness", "dice"), ("loss", "loss"), ("dice_worst", "dice_worst")],
)  # fmt: skip
def test_domains_shows_the_metric_of_the_objective(tmp_path: Path, metric: str, shown: str) -> None:
    names = ("dice", "dice/7", "loss", "dice_worst")
    score = SCORES[1].model_copy(update={"trial": 0, "metrics": dict.fromkeys(names, 0.5)})
    trial = Told(LORA | {"lora.rank": 4}, (0.5,), also={metric: 0.5})
    folder = write(tmp_path / "s", [trial], of=asked("s", metric), scores=[score], floors=FLOORS)
    sweep = Sweep.at(folder)
    assert domain_table(sweep).title == f"s: {shown} in domain and shifted"


def test_records_of_before_show_what_they_showed(tmp_path: Path) -> None:
    of = asked("old", definitions=BEFORE)
    trials = [Told(told.params, told.curve) for told in TRIALS]
    scores = [score.model_copy(update={"above_floor": {}}) for score in SCORES]
    sweep = Sweep.at(write(tmp_path / "old", trials, of=of, scores=scores, baseline=0.25))
    assert "loor" not in best_table(rank(sweep), 10).caption
    assert "loor" not in adapter_table(sweep).caption
    table = domain_table(sweep)
    assert table.rows[0][5:] == ("0.2100", "0.3000 (1.43)", "0.2000 (0.95)")
    assert table.caption.endswith("relative robustness, shifted ÷ in domain, from 0.05 in domain on")
    assert against_baseline(sweep, 0.29) == (
        "better than the pretrained baseline: dice 0.2500 before, 0.2900 after"
    )


def test_trials_under_two_definitions_of_a_metric_are_not_ranked_together(tmp_path: Path) -> None:
    old = write(tmp_path / "old", TRIALS, of=asked("old", definitions=BEFORE))
    new = write(tmp_path / "new", TRIALS, of=asked("new"), floors=FLOORS)
    with opened([old, new]) as source:
        with pytest.raises(
            QueryError, match=r"dice means one thing in old and another in new \(dice is defined"
        ):
            rank_by_sql(source, 10)
        # Both define the Dice of one class alike.
        found = rank_by_sql(source, 10, metric="dice/7")
        assert len(found.ranked) == 4
        assert "floor" in best_table(found, 10).columns
        (said,) = source.other_definitions()
        assert said.startswith("new defines metrics differently from old, so do not compare their values: ")
        assert "mean over all classes, the background included" in said
    with opened([new]) as source:
        assert source.other_definitions() == []


def test_pareto_says_the_floor_to_people_and_to_programs(folder: Path) -> None:
    found = pareto(Sweep.at(folder))
    assert pareto_json(found)["floor"] == found.floor == 0.3
    assert "dice 0.3000 on validation images" in pareto_table(found).caption


def test_domains_has_the_value_of_the_baseline_on_validation_images(tmp_path: Path) -> None:
    score = ScoredRecord(time=9.0, trial=None, metrics={"dice": 0.26})
    of = asked("all")
    sweep = Sweep.at(
        write(tmp_path / "all", TRIALS, of=of, scores=[*SCORES, score], floors=FLOORS, baseline=0.25)
    )
    row = next(row for row in domain_table(sweep).rows if row[0] == "pretrained baseline")
    assert row[4:6] == ("0.2500", "0.2600")
    assert [each["validation"] for each in domain_json(sweep)["rows"] if each["untouched"]] == [0.25]  # type: ignore[union-attr,index,call-overload]
