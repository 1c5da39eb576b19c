from __future__ import annotations

from pathlib import Path

import pytest
from recorded import AFTER, FLOORS, LORA, Told, experiment, write

from analysis.errors import NothingToRankError
from analysis.query.sweep import QueryError, Sweep
from analysis.statistics.levels import ObservedLevel, level_tables, levels_at_budgets
from tuning.ledger.outcomes import Outcome


def sweep_of(folder: Path, *trials: Told) -> Sweep:
    return Sweep.at(write(folder, trials))


def told(rank: int, *curve: float, outcome: Outcome = Outcome.COMPLETED, rate: float = 0.002) -> Told:
    return Told(LORA | {"lora.rank": rank, "learning_rate": rate}, curve, outcome)


def test_levels_are_compared_at_equal_budgets_only(tmp_path: Path) -> None:
    sweep = sweep_of(
        tmp_path / "s",
        told(4, 0.1, 0.2, outcome=Outcome.PRUNED),
        told(4, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        told(8, 0.5, 0.6, outcome=Outcome.PRUNED),
        told(8, 0.4, outcome=Outcome.STOPPED),
    )
    common, whole = levels_at_budgets(sweep, "lora.rank")
    assert (common.epoch, common.survivors) == (2.0, False)
    assert {level.name: level.values for level in common.levels} == {"4": (0.2, 0.4), "8": (0.6,)}
    assert (whole.epoch, whole.survivors) == (6.0, True)
    assert {level.name: level.values for level in whole.levels} == {"4": (0.8,), "8": ()}
    (at_one,) = levels_at_budgets(sweep, "lora.rank", at=1)
    assert {level.name: level.values for level in at_one.levels} == {"4": (0.1, 0.3), "8": (0.5, 0.4)}


def test_failed_trials_are_counted_and_not_averaged(sweep: Sweep) -> None:
    first, *_ = level_tables(sweep, "freezing")
    rows = {row[0]: row for row in first.rows}
    assert rows["unfrozen"] == ("unfrozen", "0", "–", "–", "–", "1")
    assert rows["frozen"][1] == "4"
    assert "observational" in first.title
    assert "observational" in first.caption
    assert [row[0] for row in first.rows] == ["frozen", "head_only", "unfrozen"]


def test_an_interval_needs_three_trials_and_holds_the_mean() -> None:
    assert ObservedLevel("a", (0.1, 0.2), 0).interval() is None
    interval = ObservedLevel("a", (0.1, 0.2, 0.3, 0.4), 0).interval()
    assert interval is not None
    assert interval == pytest.approx((0.04458, 0.45542), abs=1e-5)  # Student's t by hand
    assert interval == ObservedLevel("a", (0.1, 0.2, 0.3, 0.4), 0).interval()
    assert ObservedLevel("a", (0.5,) * 5, 0).interval() is None


def test_many_numeric_levels_are_binned(tmp_path: Path) -> None:
    trials = [told(4, 0.1 * i, rate=0.001 * i) for i in range(1, 13)]
    (block,) = levels_at_budgets(sweep_of(tmp_path / "s", *trials), "learning_rate")
    assert [len(level.values) for level in block.levels] == [3, 3, 3, 3]
    assert block.levels[0].name.startswith("0.001 to ")


def test_trials_without_the_setting_are_left_out_and_counted(sweep: Sweep) -> None:
    table, *_ = level_tables(sweep, "lora.rank")
    assert "Excluded: 4 trials without lora.rank" in table.caption


def test_an_unknown_setting_names_what_varies(sweep: Sweep) -> None:
    with pytest.raises(QueryError, match="the sweep varies adapter, freezing, learning_rate, lora"):
        levels_at_budgets(sweep, "lora.rnak")


def test_too_early_to_compare(tmp_path: Path) -> None:
    record = write(tmp_path / "young", (Told(LORA | {"lora.rank": 4}, (0.1,), None),), closed=None)
    with pytest.raises(NothingToRankError, match="no trial has ended"):
        level_tables(Sweep.at(record), "lora.rank")


def test_levels_count_the_models_that_have_collapsed(tmp_path: Path) -> None:
    lost = Told(LORA, (0.31,), above_floor=[(-0.1, 0.1)])
    found = Told(LORA | {"lora.rank": 16}, (0.5,), above_floor=[(0.1, 0.2)])
    asked = experiment("worth", definitions=AFTER)
    table, *_ = level_tables(
        Sweep.at(write(tmp_path / "worth", (lost, lost, found), of=asked, floors=FLOORS)), "lora.rank"
    )
    assert table.columns[-1] == "collapsed"
    assert [(row[1], row[-1]) for row in table.rows] == [("1", "0"), ("2", "2")]
    assert "collapsed: no better than a constant predictor" in table.caption
    table, *_ = level_tables(
        Sweep.at(write(tmp_path / "good", (found, found), of=asked, floors=FLOORS)), "lora.rank"
    )
    assert "collapsed" not in table.columns
