"""The paired bootstrap over test images, on simulated models with known differences and on edge cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.statistics.bootstrap import (
    ImageDifference,
    compare_over_images,
    image_difference_json,
    interval_over_images,
    read_image_results,
)
from analysis.statistics.paired import StatisticsError, Verdict
from trainables.errors import DataError
from trainables.metrics.per_image import MaskImages, PerImage, write_per_image
from trainables.run_folder import image_results
from tuning.ledger.storage import trial_folder

CLASSES = ("ground", "nucleus")
PIXELS = 4096


def pair(rng: np.random.Generator, images: int, ahead: float = 0.0) -> tuple[MaskImages, MaskImages]:
    """Two models on images equally hard for both; `ahead` makes the second one better."""
    true = np.exp(rng.normal(6.0, 0.5, images))
    hard = rng.normal(size=images)
    models = []
    for shift in (0.0, ahead):
        found = true / (1 + np.exp(-(1.5 + shift + 0.8 * hard + 0.4 * rng.normal(size=images))))
        called = found + 0.1 * true
        ground = [PIXELS - true - called + found, PIXELS - true, PIXELS - called]
        counts = np.stack([np.stack(ground, 1), np.stack([found, true, called], 1)], axis=2)
        models.append(
            MaskImages(CLASSES, tuple(f"i{n}" for n in range(images)), counts.round().astype(np.int64))
        )
    return models[0], models[1]


def compared(a: PerImage, b: PerImage) -> ImageDifference:
    return compare_over_images([a], [b], "dice/nucleus", resamples=1000)


def test_the_interval_covers_the_truth() -> None:
    far = pair(np.random.default_rng(9), 400_000, 0.1)
    truth = far[0].metric("dice/nucleus") - far[1].metric("dice/nucleus")
    rng = np.random.default_rng(3)
    held = [
        found.interval is not None and found.interval.low <= truth <= found.interval.high
        for found in (compared(*pair(rng, 60, 0.1)) for _ in range(250))
    ]
    assert 0.91 <= np.mean(held) <= 0.98  # 95 % within the sampling error of 250 draws


def test_a_clear_difference_is_shown_in_its_direction() -> None:
    a, b = pair(np.random.default_rng(0), 80, 0.8)
    found = compared(b, a)
    assert found.verdict is Verdict.BETTER
    assert found.mean == pytest.approx(b.metric("dice/nucleus") - a.metric("dice/nucleus"))
    assert "the first is better than the second: difference +0." in found.sentence
    assert "dice/nucleus: b is better than a: difference" in found.sentence_for("b", "a")
    assert "on 80 test images" in found.sentence
    assert compared(a, b).verdict is Verdict.WORSE


def test_pairing_takes_out_how_hard_the_images_are() -> None:
    a, b = pair(np.random.default_rng(1), 80, 0.1)
    paired, alone = compared(a, b).interval, interval_over_images([a], "dice/nucleus")
    assert paired is not None
    assert alone is not None
    assert paired.high - paired.low < 0.8 * (alone.high - alone.low)


def test_a_model_against_itself_is_identical() -> None:
    a, _ = pair(np.random.default_rng(1), 30)
    found = compared(a, a)
    assert (found.verdict, found.interval) == (Verdict.IDENTICAL, None)
    assert found.sentence_for("a", "b") == (
        "dice/nucleus: no difference between a and b: identical results on 30 test images"
    )


def test_several_models_stand_for_their_mean() -> None:
    a, b = pair(np.random.default_rng(1), 30)
    found = compare_over_images([a, b], [a], "dice", resamples=200)
    assert found.mean == pytest.approx((b.metric("dice") - a.metric("dice")) / 2)
    assert found.models == (2, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    a, b = pair(np.random.default_rng(1), 30)
    assert compared(a, b) == compared(a, b)


def test_few_images_give_a_warning_and_one_is_not_enough() -> None:
    a, b = pair(np.random.default_rng(1), 8, 0.3)
    assert "fewer than 20 images" in compared(a, b).sentence
    one = [MaskImages(CLASSES, ("i0",), model.counts[:1]) for model in (a, b)]
    assert (
        compared(*one).sentence
        == "dice/nucleus: not tested on 1 test image: one test image is not enough to resample"
    )


def test_a_class_on_hardly_any_image_is_not_tested() -> None:
    a, b = (
        MaskImages(model.classes, model.names, model.counts.copy())
        for model in pair(np.random.default_rng(1), 30)
    )
    for model in (a, b):
        model.counts[1:, :, 1] = 0
    found = compared(a, b)
    assert found.verdict is Verdict.UNTESTED
    assert "the metric is defined on too few test images" in found.sentence
    for model in (a, b):
        model.counts[:, :, 1] = 0
    found = compared(a, b)
    assert "dice/nucleus is not defined on any test image" in found.sentence
    json.dumps(image_difference_json(found), allow_nan=False)


def test_other_images_classes_and_metrics_are_refused() -> None:
    a, _ = pair(np.random.default_rng(1), 30)
    fewer, _ = pair(np.random.default_rng(1), 20)
    with pytest.raises(StatisticsError, match="got 30 and 20 images, of which 20 are shared"):
        compared(a, fewer)
    with pytest.raises(StatisticsError, match="same classes, got ground, nucleus and ground, cell"):
        compared(a, MaskImages(("ground", "cell"), a.names, a.counts))
    with pytest.raises(
        StatisticsError, match="'loss' cannot be computed from single images; available are dice, "
    ):
        compare_over_images([a], [a], "loss")
    with pytest.raises(StatisticsError, match="one on each side"):
        compare_over_images([a], [], "dice")


def test_stored_results_are_found_by_trial_and_domain(tmp_path: Path) -> None:
    a, b = pair(np.random.default_rng(1), 30)
    write_per_image(a, image_results(trial_folder(tmp_path, 7)))
    write_per_image(b, image_results(trial_folder(tmp_path, 7), "noisy"))
    assert read_image_results(tmp_path, 7).metric("dice") == a.metric("dice")
    assert read_image_results(tmp_path, 7, "noisy").metric("dice") == b.metric("dice")
    with pytest.raises(DataError, match="no results by image"):
        read_image_results(tmp_path, 8)
