"""Dice and IoU against scikit-learn's confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from trainables.metrics.dice import ConfusionMatrix

CLASSES = ("background", "a", "b", "c")


def _maps(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, (5, 12, 9)).astype(np.uint8)
    predicted = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 4, target.shape))
    target[rng.random(target.shape) < 0.1] = 255
    return torch.from_numpy(predicted), torch.from_numpy(target)


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_metrics_equal_sklearns_over_the_whole_set(seed: int) -> None:
    predicted, target = _maps(seed)
    matrix = ConfusionMatrix(CLASSES)
    for part in (slice(0, 2), slice(2, 5)):
        matrix.update(predicted[part], target[part])
    kept = (target != 255).numpy()
    truth, guess = target.numpy()[kept], predicted.numpy()[kept]
    assert np.array_equal(matrix.counts.numpy(), confusion_matrix(truth, guess, labels=range(4)))
    metrics = matrix.metrics()
    assert metrics["dice"] == pytest.approx(f1_score(truth, guess, average="macro"), abs=1e-12)
    assert metrics["iou"] == pytest.approx(jaccard_score(truth, guess, average="macro"), abs=1e-12)
    for name, value in zip(CLASSES, f1_score(truth, guess, average=None), strict=True):
        assert metrics[f"dice/{name}"] == pytest.approx(value, abs=1e-12)
    for name, value in zip(CLASSES, jaccard_score(truth, guess, average=None), strict=True):
        assert metrics[f"iou/{name}"] == pytest.approx(value, abs=1e-12)


def test_a_class_present_nowhere_is_left_out_and_one_only_predicted_scores_zero() -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.tensor([0, 0, 2, 1]), torch.tensor([0, 0, 1, 1]))
    metrics = matrix.metrics()
    assert "dice/c" not in metrics
    assert metrics["dice/b"] == metrics["iou/b"] == 0.0
    assert metrics["iou/a"] == 0.5
    assert metrics["iou"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_nothing_counted_is_zero() -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.tensor([1, 2]), torch.tensor([255, 255]))
    assert matrix.metrics() == {"dice": 0.0, "iou": 0.0}
