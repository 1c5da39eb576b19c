"""Results of designed experiments, against known values."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ablations import ran, ranks, sweep_in
from recorded import Told, write

from analysis.ablation import over_images
from analysis.ablation.answers import all_sentences, result_csv, result_json, result_markdown
from analysis.ablation.design import AblationError, choose_base
from analysis.ablation.over_images import image_differences
from analysis.ablation.result import (
    AblationResult,
    result_of,
    result_tables,
    seed_sentences,
)
from analysis.ablation.study_names import Images
from analysis.query.sweep import Sweep
from analysis.statistics.bootstrap import ImageDifference, compare_over_images
from analysis.statistics.paired import Verdict
from trainables.metrics import per_image
from trainables.run_folder import image_results
from tuning.ledger.storage import trial_folder

CLEAR = {4: {1: 0.50, 2: 0.52, 3: 0.51}, 8: {1: 0.60, 2: 0.63, 3: 0.60}, 16: {1: 0.61, 2: 0.59, 3: 0.64}}
TEST = {4: {1: 0.40, 2: 0.42, 3: 0.41}, 8: {1: 0.55, 2: 0.57, 3: 0.561}, 16: {1: 0.54, 2: 0.58, 3: 0.57}}


def result(folder: Path, images: Images | None = None) -> AblationResult:
    return result_of(Sweep.at(folder), images)


def test_levels_are_compared_on_test_images_where_runs_were_scored_there(tmp_path: Path) -> None:
    found = result(ran(tmp_path, CLEAR, test=TEST))
    assert found.images is Images.TEST
    assert [level.mean for level in found.comparison.levels] == pytest.approx([0.41, 1.681 / 3, 1.69 / 3])
    assert [level.mean for level in found.validation.levels] == pytest.approx([0.51, 0.61, 1.84 / 3])
    worse, same = found.comparison.differences
    assert (worse.level, worse.reference, worse.verdict) == ("4", "8", Verdict.WORSE)
    assert same.verdict is Verdict.NOT_SHOWN
    said = "\n".join(seed_sentences(found))
    assert said.startswith("On test images. dice: 1 of 2 comparisons shows a significant difference.")
    assert "4 is worse than 8" in said
    assert "16 and 8: no significant difference" in said
    assert result(tmp_path / found.name, Images.VALIDATION).comparison == found.validation


def test_without_test_values_validation_values_are_compared_and_named(tmp_path: Path) -> None:
    folder = ran(tmp_path, CLEAR)
    found = result(folder)
    assert found.images is Images.VALIDATION
    levels, differences = result_tables(found)
    assert levels.columns[:4] == ("lora.rank", "runs", "validation dice", "95 % CI")
    assert "on which each run's best epoch was selected" in levels.caption
    assert [row[0] for row in levels.rows] == ["4", "8 (reference)", "16"]
    assert [row[0] for row in differences.rows] == ["4 − 8", "16 − 8"]
    assert [row[-1] for row in differences.rows] == ["worse", "no significant difference"]
    with pytest.raises(AblationError, match="no run has been scored on test images"):
        result(folder, Images.TEST)


def test_runs_that_diverged_or_have_not_run_are_missing_and_named(tmp_path: Path) -> None:
    values = {4: {1: 0.5, 2: None, 3: 0.51}, 8: {1: 0.6, 2: 0.63, 3: 0.61}}
    found = result(ran(tmp_path, values))
    assert [level.n for level in found.comparison.levels] == [2, 3]
    assert found.comparison.differences[0].seeds == (1, 3)
    said = "\n".join(seed_sentences(found))
    assert "4: no result for seed 2" in said
    assert "Runs without a result: 1 diverged." in said
    # A driver that died after two runs.
    asked = ranks(choose_base(sweep_in(tmp_path / "other" / "digits")), 4, 8)
    told = [Told(params, (0.3, 0.5)) for params in list(asked.space.grid())[:2]]
    young = result(write(tmp_path / asked.name / "young", told, of=asked, closed=None))
    assert "one seed in common" in "\n".join(seed_sentences(young))
    assert "Runs without a result: 4 not run." in "\n".join(seed_sentences(young))


def test_a_single_level_and_a_single_seed_have_a_clear_answer(tmp_path: Path) -> None:
    alone = result(ran(tmp_path / "a", {8: {1: 0.6, 2: 0.61, 3: 0.62}}))
    assert len(result_tables(alone)) == 1
    assert "only one level (8), so there is nothing to compare" in "\n".join(seed_sentences(alone))
    once = result(ran(tmp_path / "b", {4: {1: 0.5}, 8: {1: 0.6}}, seeds=1))
    assert "no comparison could be tested: only one seed in common" in "\n".join(seed_sentences(once))
    assert all(row[3] == "–" for row in result_tables(once)[0].rows)


def test_ties_are_no_difference(tmp_path: Path) -> None:
    same = {1: 0.5, 2: 0.52, 3: 0.51}
    found = result(ran(tmp_path, {4: same, 8: same}))
    assert found.comparison.differences[0].verdict is Verdict.IDENTICAL


def test_a_sweep_is_no_designed_experiment(tmp_path: Path) -> None:
    with pytest.raises(
        AblationError, match="digits is not a designed experiment; `adaptertune ablate digits"
    ):
        result_of(sweep_in(tmp_path / "digits"))


def test_every_form_holds_all_runs(tmp_path: Path) -> None:
    folder = ran(tmp_path, CLEAR, test=TEST)
    found = result(folder)
    rows = list(csv.DictReader(io.StringIO(result_csv(found))))
    assert len(rows) == 9
    assert [float(row["test"]) for row in rows if row["level"] == "16"] == [0.54, 0.58, 0.57]
    whole = json.loads(json.dumps(result_json(found, folder)))
    assert whole["design"]["factor"] == "lora.rank"
    assert whole["comparison"]["differences"][0]["verdict"] == "worse"
    assert len(whole["runs"]) == 9
    text = result_markdown(found, folder)
    assert "| 8 (reference) | 3 |" in text
    assert "- On test images." in text


def test_results_by_image_are_compared_with_the_seeds_that_both_have(tmp_path: Path) -> None:
    values = {4: {1: 0.5, 2: 0.5, 3: 0.52}, 8: {1: 0.6, 2: 0.6, 3: 0.61}}
    folder = ran(tmp_path, values, test=values)
    found = result(folder)
    assert image_differences(found, folder) == {}  # none were kept
    rng = np.random.default_rng(0)
    for run in found.runs:
        assert run.trial is not None
        right = rng.integers(40, 50, (30, 1)) if run.level == "8" else rng.integers(20, 30, (30, 1))
        counts = np.stack([np.c_[right, right], np.full((30, 2), 60), np.full((30, 2), 60)], axis=1)
        kept = per_image.MaskImages(("a", "b"), tuple(map(str, range(30))), counts.astype(np.int64))
        per_image.write_per_image(kept, image_results(trial_folder(folder, run.trial)))
    shown = image_differences(found, folder)["4"]
    assert shown.verdict is Verdict.WORSE
    assert shown.models == (3, 3)
    assert all_sentences(found, folder)[-1].startswith(
        "Over test images, mean of 3 models each: dice: 4 is worse than 8: difference −0.33"
    )


def test_resampling_images_of_an_ap_takes_fewer_models_where_all_would_take_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {4: {1: 0.5, 2: 0.5, 3: 0.52}, 8: {1: 0.6, 2: 0.6, 3: 0.61}}
    folder = ran(tmp_path, values, test=values)
    found = replace(result(folder), metric="map_50")  # one curve for each class and model
    rng = np.random.default_rng(0)
    for run in found.runs:
        assert run.trial is not None
        hit = np.tile(rng.random((50, 1)) < (0.9 if run.level == "8" else 0.3), (1, 10))
        kept = per_image.BoxImages(
            ("a", "b"), tuple(map(str, range(25))), np.ones((25, 2), np.int64), np.repeat(np.arange(25), 2),
            np.tile([0, 1], 25), rng.random(50), hit, np.zeros((50, 10), bool),
        )  # fmt: skip
        per_image.write_per_image(kept, image_results(trial_folder(folder, run.trial)))
    assert image_differences(found, folder)["4"].models == (3, 3)
    drawn: list[str] = []

    def counted(first: Any, second: Any, metric: str, **how: Any) -> ImageDifference:
        drawn.append(metric)
        return compare_over_images(first, second, metric, **how)

    with monkeypatch.context() as patch:
        patch.setattr(over_images, "compare_over_images", counted)
        assert "over_images" in result_json(found, folder)
    assert drawn == ["map_50"]  # computed once, though both the values and the sentences use it
    monkeypatch.setattr(over_images, "CURVES", 2 * 2 * 2 * over_images.FEWEST)
    few = image_differences(found, folder)["4"]
    assert few.models == (2, 2)
    assert few.verdict is Verdict.WORSE
    monkeypatch.setattr(over_images, "CURVES", 1)
    assert image_differences(found, folder) == {}
