from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import BEFORE, DOMAINS, LORA, SCORES, TRIALS, Told, experiment, write

from analysis.errors import NothingToRankError
from analysis.query.sweep import QueryError, Sweep
from analysis.ranking.best import rank
from analysis.ranking.best_table import best_json, best_table
from analysis.ranking.domains import domain_json, domain_table
from analysis.ranking.scored_metrics import scored_value
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import ScoredRecord

DATA = {"embedded": {"domain": "inverted"}, "domains": DOMAINS}
SHIFTED = experiment("digits", data=DATA, definitions=BEFORE)
"""Recorded without floors; `test_floors.py` has records with them."""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("scored") / "digits"
    return Sweep.at(write(folder, TRIALS, of=SHIFTED, scores=SCORES))


def test_a_row_for_each_adapter_of_the_trial_that_validation_picked(scored: Sweep) -> None:
    table = domain_table(scored)
    assert table.columns == (
        "adapter", "freezing", "trial", "at epoch", "validation dice", "in domain", "noisy", "dim",
    )  # fmt: skip
    assert table.rows == (
        ("serial_lora", "frozen", "4", "2", "0.7400", "0.8000", "0.4000 (0.50)", "0.6000 (0.75)"),
        # Trial 1 of the same kind has 0.9 on test images, which must not select it.
        ("lora", "frozen", "0", "5", "0.7500", "0.7000", "0.6300 (0.90)", "0.5600 (0.80)"),
        ("pretrained baseline", "", "", "", "0.0100", "0.0000", "0.0200", "0.0000"),
    )
    assert "on test images" in table.caption
    assert "best on validation images" in table.caption
    assert "shifted ÷ in domain" in table.caption


def test_a_trial_that_was_cut_short_stands_for_its_kind_only_where_no_other_ended(tmp_path: Path) -> None:
    ahead = Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (0.35, 0.9), Outcome.PRUNED)
    trials = (TRIALS[0], ahead, *TRIALS[2:])
    found = domain_table(Sweep.at(write(tmp_path / "both", trials, of=SHIFTED, scores=SCORES)))
    assert [row[2] for row in found.rows] == ["4", "0", ""]
    assert "smaller budget" not in found.caption
    scores = [score for score in SCORES if score.trial != 0]
    alone = Sweep.at(write(tmp_path / "alone", trials, of=SHIFTED, scores=scores))
    found = domain_table(alone)
    assert [row[2] for row in found.rows] == ["1", "4", ""]
    assert "with a smaller budget than the others: trial 1 (pruned after 2 of 6 epochs)" in found.caption
    first = json.loads(json.dumps(domain_json(alone)))["rows"][0]
    assert (first["outcome"], first["ran_epochs"], first["of_epochs"]) == ("pruned", 2.0, 6.0)


def test_of_equal_values_on_test_images_the_better_on_validation_images_comes_first(tmp_path: Path) -> None:
    scores = [s.model_copy(update={"metrics": {"dice": 0.5, "loss": 0.5}}) for s in SCORES[:2]]
    trials = (TRIALS[4], *TRIALS[1:4], TRIALS[0])  # 4, the better one, has the higher number
    table = domain_table(Sweep.at(write(tmp_path / "ties", trials, of=SHIFTED, scores=scores)))
    assert [row[2] for row in table.rows] == ["4", "0"]


def test_another_figure_in_its_own_order(scored: Sweep) -> None:
    table = domain_table(scored, "loss")
    assert [row[5] for row in table.rows] == ["0.2000", "0.3000", "3.0000"]
    with pytest.raises(QueryError, match=r"'dise'.*there are dice, loss"):
        domain_table(scored, "dise")


def test_the_rows_for_programs_hold_every_figure(scored: Sweep) -> None:
    said = json.loads(json.dumps(domain_json(scored)))
    assert (said["measured_on"], said["picked_on"], said["main"]) == ("test", "validation", "dice")
    assert said["domains"] == ["noisy", "dim"]
    first, _, untouched = said["rows"]
    assert (first["adapter"], first["trial"], first["validation"]) == ("serial_lora", 4, 0.74)
    assert first["domains"]["noisy"] == {"dice": 0.4, "loss": 0.9}
    assert first["robustness"] == {"noisy": 0.5, "dim": 0.75}
    assert untouched["untouched"]
    assert untouched["trial"] is None
    assert said["failed"] == [{"trial": 2, "reason": "best.ckpt is gone"}]


def test_without_domains_there_is_one_figure(tmp_path: Path) -> None:
    plain = [score.model_copy(update={"domains": {}, "robustness": {}}) for score in SCORES]
    table = domain_table(Sweep.at(write(tmp_path / "plain", scores=plain)))
    assert table.columns[-1] == "in domain"
    assert table.title == "plain: dice on test images"
    assert "robustness" not in table.caption


def test_nothing_scored_says_why(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(NothingToRankError, match="once a sweep has finished"):
        domain_table(sweep)
    none = experiment("none", scoring={"trials": "none"})
    with pytest.raises(NothingToRankError, match=r"scoring\.trials: none"):
        domain_table(Sweep.at(write(tmp_path / "none", of=none)))
    lost = [ScoredRecord(trial=0, epoch=5.0, reason="no memory")]
    with pytest.raises(NothingToRankError, match="scoring failed: no memory"):
        domain_table(Sweep.at(write(tmp_path / "lost", scores=lost)))


def test_best_shows_test_figures_beside_and_ranks_by_validation(scored: Sweep, sweep: Sweep) -> None:
    every = rank(scored, early_stopped=True)
    table = best_table(every, top=4)
    assert table.columns[2:5] == ("dice", "test dice", "at epoch")
    assert [row[1:5] for row in table.rows] == [
        ("0", "0.7500", "0.7000", "5"),
        ("4", "0.7400", "0.8000", "2"),
        ("1", "0.4000", "0.9000", "2"),
        ("2", "0.3200", "–", "6"),  # its scoring failed
    ]
    assert "Picked on validation images" in table.caption
    assert "test dice" not in best_table(rank(sweep), top=4).columns
    assert "Picked" not in best_table(rank(sweep), top=4).caption
    first, *_, last = best_json(every, 4)["trials"]  # type: ignore[misc]
    assert first["test"]["robustness"] == {"noisy": 0.9, "dim": 0.8}  # type: ignore[call-overload, index]
    assert last["test"] is None  # type: ignore[call-overload, index]


def test_a_test_figure_stands_only_beside_the_value_of_the_same_weights(scored: Sweep) -> None:
    table = best_table(rank(scored, at=2), top=4)
    assert {row[1]: row[3] for row in table.rows} == {"4": "0.8000", "0": "–", "1": "0.9000", "2": "–"}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("dice", 0.8),
        ("dice@noisy", 0.4),
        ("loss@dim", 0.4),
        ("robustness@noisy", 0.5),
        ("robustness", 0.625),
        ("dice/cat", None),
        ("dice@fog", None),
    ],
)
def test_a_score_answers_for_any_objective(metric: str, value: float | None) -> None:
    assert scored_value(SCORES[0], metric) == value
