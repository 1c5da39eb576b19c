from __future__ import annotations

from pathlib import Path

import pytest
from recorded import LORA, Told, experiment, write

from analysis.query.sweep import Sweep
from analysis.ranking.by_adapter import adapter_table, against_baseline, common_epoch, groups
from tuning.ledger.outcomes import Outcome


def test_a_row_for_each_adapter_and_freezing_mode_best_first(sweep: Sweep) -> None:
    assert [(g.adapter, g.freezing) for g in groups(sweep)] == [
        ("lora", "frozen"),
        ("serial_lora", "frozen"),
        ("none", "head_only"),
        ("serial_lora", "unfrozen"),
    ]


def test_the_median_is_taken_at_the_epoch_that_all_reached(sweep: Sweep) -> None:
    assert common_epoch(sweep.trials) == 1.0
    lora, serial, *_ = groups(sweep)
    assert lora.median == pytest.approx((0.3 + 0.35) / 2)
    assert serial.median == pytest.approx((0.6 + 0.1) / 2)


def test_the_pretrained_baseline_is_listed_in_the_order_of_values(sweep: Sweep) -> None:
    table = adapter_table(sweep)
    assert [row[0] for row in table.rows] == [
        "lora",
        "serial_lora",
        "none",
        "pretrained baseline",
        "serial_lora",
    ]
    assert table.rows[2][6:9] == ("0", "2,000", "0")
    assert table.rows[3][3] == "0.0100"
    assert table.rows[4][3] == "–"  # diverged: no valid value
    assert table.rows[4][-1] == "1 diverged"
    assert "median at epoch 1" in table.columns


def test_without_a_baseline_there_is_no_such_row(tmp_path: Path) -> None:
    sweep = Sweep.at(write(tmp_path / "none", baseline=None))
    assert "pretrained baseline" not in [row[0] for row in adapter_table(sweep).rows]
    assert against_baseline(sweep, 0.7) == ""


def test_against_baseline_says_which_way(sweep: Sweep) -> None:
    assert (
        against_baseline(sweep, 0.75)
        == "better than the pretrained baseline: dice 0.0100 before, 0.7500 after"
    )
    assert against_baseline(sweep, 0.005).startswith("no better")


def test_best_is_of_trials_that_ran_to_their_own_end(tmp_path: Path) -> None:
    trials = (Told(LORA, (0.3, 0.5)), Told(LORA, (0.9,), Outcome.PRUNED))
    (group,) = groups(Sweep.at(write(tmp_path / "pruned", trials)))
    assert group.best is not None
    assert group.best[1].value == 0.5
    (stopped,) = groups(Sweep.at(write(tmp_path / "stopped", trials[1:])))
    assert stopped.best is None


def test_of_equally_good_groups_that_of_the_lower_trial_comes_first(tmp_path: Path) -> None:
    serial = {"adapter": "serial_lora", "freezing": "frozen"}
    trials = (Told(serial, (0.3,)), Told(LORA, (0.5,)), Told(serial, (0.5,)), Told(LORA, (0.5,)))
    found = groups(Sweep.at(write(tmp_path / "ties", trials)))
    assert [(g.adapter, g.best and g.best[0].number) for g in found] == [("lora", 1), ("serial_lora", 2)]


def test_rule_last_leaves_stopped_trials_out_of_best(tmp_path: Path) -> None:
    record = write(tmp_path / "last", of=experiment("last", rule="last"))
    by = {(g.adapter, g.freezing): g for g in groups(Sweep.at(record))}
    best = by["lora", "frozen"].best
    assert best is not None
    assert best[1].value == 0.72


def test_a_sweep_without_reports(tmp_path: Path) -> None:
    record = write(tmp_path / "young", (Told(LORA, (), None),), closed=None)
    assert adapter_table(Sweep.at(record)).rows[-1][3] == "–"
