"""Floors against constant predictors that are really scored, class by class."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from trainables.data.sample import IGNORE
from trainables.metrics.above_floor import metric_floor
from trainables.metrics.dice import counts_by_image, mask_metrics
from trainables.metrics.floors import constant_soft_dice, mask_floors
from trainables.metrics.mask_means import mask_names
from trainables.metrics.rules import MetricRules
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import MetricName
from trainables.tasks.losses import measure_images, soft_dice

CLASSES = ("background", "cell", "debris")
RULES = MetricRules(background="background")


def _masks(seed: int, images: int = 40, most: int = 3) -> torch.Tensor:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(most), images)
    target = np.stack([random.choice(most, (6, 5), p=share) for share in shares])
    target[random.random(target.shape) < 0.1] = IGNORE
    return torch.from_numpy(target)


def _truth(target: torch.Tensor) -> np.ndarray:
    return counts_by_image(torch.zeros_like(target), target, len(CLASSES))[:, 1].numpy()


@pytest.mark.parametrize("rules", [RULES, MetricRules(), MetricRules(BEFORE, "background")])
@pytest.mark.parametrize(("seed", "most"), [(0, 3), (1, 3), (2, 2), (3, 1)])
def test_a_floor_is_the_best_that_a_constant_class_reaches(rules: MetricRules, seed: int, most: int) -> None:
    target = _masks(seed, most=most)
    constants = [torch.full_like(target, index) for index in range(len(CLASSES))]
    reached = [mask_metrics(counts_by_image(one, target, len(CLASSES)), CLASSES, rules) for one in constants]
    floors = mask_floors(_truth(target), CLASSES, rules)
    for name in mask_names(CLASSES, rules):
        values = [metrics[name] for metrics in reached if name in metrics]
        label = name.partition("/")[2]
        if label and CLASSES.index(label) >= most:
            assert name not in floors, "no floor of a class that is not in the masks"
        else:
            assert floors[name] == pytest.approx(max(values), abs=1e-12)


@pytest.mark.parametrize("images", [5, 32, 40, 70])
def test_the_floor_of_soft_dice_is_that_of_one_hot_constants(images: int) -> None:
    target = _masks(4, images)
    for index, floor in enumerate(constant_soft_dice(_truth(target))):
        sure = torch.full((images, len(CLASSES), 6, 5), -1e9)
        sure[:, index] = 0.0
        assert soft_dice(measure_images(sure, target)) == pytest.approx(floor, abs=1e-6)


def test_a_group_without_a_counted_pixel_counts_as_in_the_metric() -> None:
    blank = np.zeros((3, 2), np.int64)
    assert constant_soft_dice(blank).tolist() == [1.0, 1.0]
    assert mask_floors(blank, ("a", "b"), MetricRules())["dice"] == 0.0


def test_nuclei_that_are_rare_have_a_floor_far_below_the_old_mean() -> None:
    """90 % background: nothing found gave a mean Dice of 0.47, and is now 0 of a floor of 0.18."""
    truth = np.array([[900, 100]])
    before = mask_floors(truth, ("background", "cell"), MetricRules(BEFORE, "background"))
    now = mask_floors(truth, ("background", "cell"), RULES)
    assert before["dice"] == now["dice_with_background"] == pytest.approx(1800 / 1900 / 2)
    assert now["dice"] == now["dice_worst"] == pytest.approx(200 / 1100)
    assert now["iou"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("map", 0.0),
        ("map_50/cat", 0.0),
        ("mar_100", 0.0),
        ("map_worst", 0.0),
        ("robustness", 0.0),
        ("loss", None),
        ("dice", 0.3),
        ("dice/cell", 0.2),
        ("iou", None),
    ],
)
def test_which_metrics_have_a_floor(name: str, expected: float | None) -> None:
    assert metric_floor(MetricName.of(name), {"dice": 0.3, "dice/cell": 0.2}) == expected


def test_a_floor_by_resample_uses_the_best_class_of_that_resample() -> None:
    """Of two images one is all "cell", the other all "debris": each alone has floor 1."""
    truth = np.array([[0, 10, 0], [0, 0, 10]])
    for image, floor in itertools.product((0, 1), (1.0,)):
        assert mask_floors(truth[[image]], CLASSES, RULES)["dice"] == floor
    assert mask_floors(truth, CLASSES, RULES)["dice"] == pytest.approx(1 / 3)
