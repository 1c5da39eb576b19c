"""Dice and IoU against scikit-learn's confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from trainables.metrics.dice import confused_by_image, counts_by_image, counts_of, mask_metrics
from trainables.metrics.rules import MetricRules
from trainables.specs.definitions import BEFORE

CLASSES = ("background", "a", "b", "c")
PLAIN = MetricRules()
RULES = MetricRules(background="background")


def _maps(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, (5, 12, 9)).astype(np.uint8)
    predicted = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 4, target.shape))
    target[rng.random(target.shape) < 0.1] = 255
    return torch.from_numpy(predicted), torch.from_numpy(target)


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_metrics_equal_sklearns_over_the_whole_set(seed: int) -> None:
    predicted, target = _maps(seed)
    counts = torch.cat(
        [counts_by_image(predicted[part], target[part], 4) for part in (slice(0, 2), slice(2, 5))]
    )
    kept = (target != 255).numpy()
    truth, guess = target.numpy()[kept], predicted.numpy()[kept]
    confused = confusion_matrix(truth, guess, labels=range(4))
    assert np.array_equal(counts.sum(0).numpy(), [confused.diagonal(), confused.sum(1), confused.sum(0)])
    metrics = mask_metrics(counts, CLASSES, PLAIN)
    assert metrics["dice"] == pytest.approx(f1_score(truth, guess, average="macro"), abs=1e-12)
    assert metrics["iou"] == pytest.approx(jaccard_score(truth, guess, average="macro"), abs=1e-12)
    for name, value in zip(CLASSES, f1_score(truth, guess, average=None), strict=True):
        assert metrics[f"dice/{name}"] == pytest.approx(value, abs=1e-12)
    for name, value in zip(CLASSES, jaccard_score(truth, guess, average=None), strict=True):
        assert metrics[f"iou/{name}"] == pytest.approx(value, abs=1e-12)


def test_a_class_present_nowhere_is_left_out_and_one_only_predicted_scores_zero() -> None:
    metrics = _metrics([0, 0, 2, 1], [0, 0, 1, 1], PLAIN)
    assert "dice/c" not in metrics
    assert metrics["dice/b"] == metrics["iou/b"] == 0.0
    assert metrics["iou/a"] == 0.5
    assert metrics["iou"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_nothing_counted_is_zero() -> None:
    assert _metrics([1, 2], [255, 255], MetricRules(BEFORE)) == {"dice": 0.0, "iou": 0.0}
    names = ("dice", "dice_with_background", "dice_worst", "iou", "iou_with_background", "iou_worst")
    assert _metrics([1, 2], [255, 255], RULES) == dict.fromkeys(names, 0.0)


def test_means_are_over_the_foreground_and_the_worst_class_is_the_least_of_it() -> None:
    """Half of the background called "a": 2 hits of 4 there; all of "a" found; "b" never; "c" absent."""
    predicted, target = [0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 2]
    metrics = _metrics(predicted, target, RULES)
    each = {"background": 2 * 2 / 7, "a": 2 * 2 / 6, "b": 0.0}
    for name, value in each.items():
        assert metrics[f"dice/{name}"] == pytest.approx(value)
    assert metrics["dice"] == pytest.approx((each["a"] + each["b"]) / 2)
    assert metrics["dice_with_background"] == pytest.approx(sum(each.values()) / 3)
    assert metrics["dice_worst"] == metrics["iou_worst"] == 0.0
    assert metrics["iou"] == pytest.approx((2 / 4 + 0) / 2)
    before = _metrics(predicted, target, MetricRules(BEFORE, "background"))
    assert before["dice"] == metrics["dice_with_background"]
    assert before.keys() == metrics.keys() - {
        f"{base}{extra}" for base in ("dice", "iou") for extra in ("_with_background", "_worst")
    }


def test_without_a_background_class_the_mean_is_over_all_classes() -> None:
    metrics = _metrics([0, 1, 1], [0, 0, 1], PLAIN)
    assert metrics["dice"] == metrics["dice_with_background"]


def test_nothing_of_the_foreground_in_truth_or_prediction_is_zero_as_map_is() -> None:
    metrics = _metrics([0, 0], [0, 0], RULES)
    assert (metrics["dice"], metrics["dice_worst"], metrics["dice_with_background"]) == (0.0, 0.0, 1.0)


def _metrics(predicted: list[int], target: list[int], rules: MetricRules) -> dict[str, float]:
    maps = (torch.tensor(values).view(1, 1, -1) for values in (predicted, target))
    return mask_metrics(counts_by_image(*maps, len(CLASSES)), CLASSES, rules)


def test_counts_are_sums_of_the_confusion() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = (torch.randint(0, 4, (3, 9, 7), generator=generator) for _ in range(2))
    target[:, 0] = 255
    confused = confused_by_image(predicted, target, 4)
    for image in range(3):
        for true in range(4):
            for called in range(4):
                cells = (target[image] == true) & (predicted[image] == called)
                assert confused[image, true, called] == cells.sum()
    assert torch.equal(counts_of(confused), counts_by_image(predicted, target, 4))
