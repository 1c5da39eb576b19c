"""Results by image: over all images they give the reported metrics, over a resample those of its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sample_scenes import CLASSES, Boxes
from sample_scenes import box_scene as scene

from trainables.data.files.mask_pixels import IGNORE
from trainables.errors import DataError
from trainables.metrics.coco import Backend, Detections, coco_metrics
from trainables.metrics.dice import counts_by_image, mask_metrics
from trainables.metrics.per_image import BoxImages, MaskImages, box_images, read_per_image, write_per_image
from trainables.metrics.rules import MetricRules

RULES = MetricRules(background=CLASSES[0])


def names(n: int) -> list[str]:
    return [f"image-{i}" for i in range(n)]


def masks(seed: int = 0, images: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (images, 8, 6), generator=generator)
    predicted = torch.where(
        torch.rand(target.shape, generator=generator) < 0.6,
        target,
        torch.randint(0, 3, target.shape, generator=generator),
    )
    target[torch.rand(target.shape, generator=generator) < 0.1] = IGNORE
    return predicted, target


def mask_images(predicted: torch.Tensor, target: torch.Tensor) -> MaskImages:
    counts = counts_by_image(predicted, target, 3).numpy()
    return MaskImages(CLASSES, tuple(names(len(target))), counts, RULES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("backend", Backend)
def test_ap_over_all_images_is_the_reported_one(seed: int, backend: Backend) -> None:
    truths, found = scene(seed)
    reported = coco_metrics(truths, found, CLASSES, backend=backend)
    results = box_images(truths, found, CLASSES, names(40))
    bases = ("map", "map_50", "map_75")
    assert set(results.metrics) == {
        *bases, "map_worst", *(f"{base}/{name}" for base in bases for name in CLASSES)
    }  # fmt: skip
    for name in results.metrics:
        assert results.metric(name) == pytest.approx(reported[name], abs=1e-12)


def test_ap_over_a_resample_is_that_of_its_images_each_as_often_as_drawn() -> None:
    truths, found = scene(5)
    results = box_images(truths, found, CLASSES, names(40))
    drawn = np.sort(np.random.default_rng(1).integers(0, 40, 40))
    reported = coco_metrics([truths[i] for i in drawn], [found[i] for i in drawn], CLASSES)
    for name in results.metrics:
        assert results.metric(name, np.bincount(drawn, minlength=40)) == pytest.approx(
            reported[name], abs=1e-12
        )


def test_equal_scores_keep_cocos_order() -> None:
    truths, found = scene(6)
    found = [Detections(d.boxes, np.round(d.scores, 1), d.labels) for d in found]
    results = box_images(truths, found, CLASSES, names(40))
    assert results.metric("map") == pytest.approx(coco_metrics(truths, found, CLASSES)["map"], abs=1e-12)


def test_ap_without_detections_or_objects() -> None:
    truths, found = scene(0)
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    silent = box_images(truths, [nothing] * 40, CLASSES, names(40))
    assert silent.metric("map") == 0
    empty = Boxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros(0, bool))
    blank = box_images([empty] * 40, found, CLASSES, names(40))
    assert blank.metric("map") == 0  # as reported
    assert np.isnan(blank.metric("map/cat"))  # as left out of the report


def test_dice_and_iou_over_all_images_are_the_reported_ones() -> None:
    predicted, target = masks()
    results = mask_images(predicted, target)
    reported = mask_metrics(counts_by_image(predicted, target, 3), CLASSES, RULES)
    assert set(results.metrics) == set(reported)
    for name, value in reported.items():
        assert results.metric(name) == pytest.approx(value, abs=1e-12)


def test_dice_over_a_resample_is_that_of_its_images() -> None:
    predicted, target = masks()
    drawn = [0, 0, 3, 5, 5, 5]
    reported = mask_metrics(counts_by_image(predicted[drawn], target[drawn], 3), CLASSES, RULES)
    results = mask_images(predicted, target)
    weights = np.stack([np.bincount(drawn, minlength=12), np.ones(12, int)])
    for name, value in reported.items():
        assert results.resampled(name, weights) == pytest.approx([value, results.metric(name)], abs=1e-12)


def test_a_class_that_is_nowhere_has_no_dice_and_no_part_in_the_mean() -> None:
    same = torch.zeros(2, 4, 4, dtype=torch.int64)
    results = mask_images(same, same)
    assert results.metric("dice_with_background") == 1
    assert results.metric("dice") == 0
    assert np.isnan(results.metric("dice/cat"))
    unseen = mask_images(same, torch.full_like(same, IGNORE))
    assert unseen.metric("dice") == 0


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(KeyError, match="map_small"):
        box_images(*scene(0), CLASSES, names(40)).metric("map_small")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    boxes, counts = box_images(*scene(2), CLASSES, names(40)), mask_images(*masks())
    for results in (boxes, counts):
        write_per_image(results, tmp_path / "test" / "images.npz")
        back = read_per_image(tmp_path / "test" / "images.npz")
        assert (back.classes, back.names) == (results.classes, results.names)
        weights = np.random.default_rng(0).integers(0, 3, (4, len(results.names)))
        for name in results.metrics:
            assert np.array_equal(
                back.resampled(name, weights), results.resampled(name, weights), equal_nan=True
            )
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["images.npz"]


def test_a_missing_torn_or_foreign_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    with pytest.raises(DataError, match="they are kept when a trial is scored"):
        read_per_image(path)
    write_per_image(box_images(*scene(2), CLASSES, names(40)), path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a zip"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="score the trial again"):
            read_per_image(path)
    with path.open("wb") as file:
        np.savez(file, other=np.zeros(3))
    with pytest.raises(DataError, match="score the trial again"):
        read_per_image(path)


def test_many_detections_stay_small_on_disk(tmp_path: Path) -> None:
    truths, found = scene(3)
    write_per_image(box_images(truths, found, CLASSES, names(40)), tmp_path / "images.npz")
    detections = sum(len(d.scores) for d in found)
    assert (tmp_path / "images.npz").stat().st_size < 24 * detections + 4096
    assert isinstance(read_per_image(tmp_path / "images.npz"), BoxImages)
