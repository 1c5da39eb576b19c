"""Dice and IoU from one confusion matrix over a whole split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.data.prepared import IGNORE


def counts_by_image(predicted: Tensor, target: Tensor, classes: int, *, ignore: int = IGNORE) -> Tensor:
    """(B, 3, classes) int64: each image's correct, true and predicted pixels of each class.

    predicted, target: (B, H, W) index maps; pixels whose target is `ignore` are left out.
    """
    counted = target != ignore
    first = torch.arange(0, len(target) * classes, classes, device=target.device)
    images = first.view(-1, 1, 1).expand_as(target)[counted]
    true, called = target[counted].long(), predicted[counted].long()
    right = true == called

    def sums(places: Tensor) -> Tensor:
        return torch.bincount(places, minlength=len(target) * classes).view(len(target), classes)

    return torch.stack([sums((images + true)[right]), sums(images + true), sums(images + called)], dim=1)


class ConfusionMatrix:
    """Counts of (true class, predicted class) over pixels, on the device of the inputs."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.counts = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        """(true, predicted), int64."""

    def update(self, predicted: Tensor, target: Tensor, *, ignore: int = IGNORE) -> None:
        """Count two index maps of the same shape; pixels whose target is `ignore` are left out."""
        size = len(self.classes)
        counted = target != ignore
        pairs = target[counted].long() * size + predicted[counted].long()
        counts = torch.bincount(pairs, minlength=size * size).view(size, size)
        self.counts = self.counts.to(counts.device) + counts

    def metrics(self) -> dict[str, float]:
        """`dice` and `iou`: means over the classes present in truth or prediction, and each class's value.

        Dice 2·TP / (2·TP + FP + FN), IoU TP / (TP + FP + FN). A class that is not present is left out.
        Without a single counted pixel both means are 0.
        """
        counts = self.counts.cpu().double()
        hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
        present = (truth + predicted) > 0
        found: dict[str, float] = {}
        for name, values in (
            ("dice", 2 * hits / (truth + predicted)),
            ("iou", hits / (truth + predicted - hits)),
        ):
            found[name] = float(values[present].mean()) if present.any() else 0.0
            for index, label in enumerate(self.classes):
                if present[index]:
                    found[f"{name}/{label}"] = float(values[index])
        return found
