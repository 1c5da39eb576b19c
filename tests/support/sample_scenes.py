"""Random objects with detections near them, and random masks with predictions near them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from trainables.metrics.coco import Array, Detections
from trainables.metrics.dice import counts_by_image

CLASSES = ("ground", "cat", "dog")


@dataclass(frozen=True)
class Boxes:
    boxes: Array
    labels: Array
    areas: Array
    crowds: Array


def box_scene(seed: int, images: int = 40) -> tuple[list[Boxes], list[Detections]]:
    """Objects, some of them crowds, some images without any; detections near them and elsewhere."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        n = int(rng.integers(0, 6))
        boxes = np.hstack([rng.uniform(0, 50, (n, 2)), rng.uniform(5, 60, (n, 2))])
        labels = rng.integers(0, 3, n)
        truths.append(Boxes(boxes, labels, boxes[:, 2] * boxes[:, 3], rng.random(n) < 0.15))
        astray = np.hstack([rng.uniform(0, 50, (20, 2)), rng.uniform(5, 60, (20, 2))])
        near = boxes + rng.normal(0, 2, boxes.shape)
        found.append(
            Detections(
                np.concatenate([near, astray]),
                rng.random(n + 20),
                np.concatenate([labels, rng.integers(0, 3, 20)]),
            )
        )
    return truths, found


def mask_scene(seed: int, images: int) -> Array:
    """(images, 3, classes): correct, true and predicted pixels; 80 % of the pixels are right."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, 8, 6)
    target = torch.randint(0, len(CLASSES), shape, generator=generator)
    drawn = torch.randint(0, len(CLASSES), shape, generator=generator)
    predicted = torch.where(torch.rand(shape, generator=generator) < 0.7, target, drawn)
    counts: Array = counts_by_image(predicted, target, len(CLASSES)).numpy()
    return counts
