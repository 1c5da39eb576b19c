"""Counts of images, objects and pixels by part, by class and by size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.inspection.images import Array, SeenImage
from trainables.metrics.coco import AREAS

SIZES = ("small", "medium", "large")
"""COCO's sizes by annotated area: up to 32², up to 96², and above, in pixels of the original image."""
TINY = 8
"""Pixels at the model's size below which the shorter side of a box is counted as tiny."""
MOST_SIZES = 5
"""The image sizes that are listed, the most frequent first."""


@dataclass(frozen=True)
class PartCounts:
    """A part's counts. images: of its files.  used: those that are left.  unlabelled: without any object,
    and without any that was left out.

    boxes: with crowds.  crowds: how many are.  sizes: boxes by `SIZES`, without crowds.
    tiny: boxes whose shorter side is below `TINY` pixels at the model's size.
    """

    label: str
    images: int
    used: int
    unlabelled: int
    boxes: int
    crowds: int
    sizes: tuple[int, int, int]
    tiny: int


@dataclass(frozen=True)
class ClassCounts:
    """A class's counts. objects: its boxes without crowds.  images: those that show it.

    sizes: its boxes by `SIZES`.  by_part: images that show it by part, in the order of the parts.
    pixels: its share of all counted pixels of masks, None for boxes.
    """

    name: str
    objects: int
    images: int
    sizes: tuple[int, int, int]
    by_part: tuple[int, ...]
    pixels: float | None


def count_part(label: str, images: Sequence[SeenImage], background: int | None) -> PartCounts:
    """The counts of one part. background: the class that is no object, for masks."""
    used = [image for image in images if image.used]
    return PartCounts(
        label=label,
        images=len(images),
        used=len(used),
        unlabelled=sum(is_unlabelled(image, background) for image in used),
        boxes=sum(len(image.labels) for image in used),
        crowds=sum(int(image.crowds.sum()) for image in used),
        sizes=_by_size(joined([image.areas[~image.crowds] for image in used])),
        tiny=sum(int(tiny_boxes(image).sum()) for image in used),
    )


def count_classes(
    classes: Sequence[str], labels: Sequence[str], images: Sequence[SeenImage], *, masks: bool
) -> list[ClassCounts]:
    """The counts of each class, in the classes' order. labels: those of the parts."""
    used = [image for image in images if image.used]
    whole = sum((image.pixels[:-1] for image in used if len(image.pixels)), np.zeros(len(classes), np.int64))
    by_class: list[Counter[str]] = [Counter() for _ in classes]
    for image in used:
        for number in image.shown_classes.tolist():
            by_class[number][image.label] += 1
    numbers = joined([image.labels[~image.crowds] for image in used])
    areas = joined([image.areas[~image.crowds] for image in used])
    return [
        ClassCounts(
            name=name,
            objects=int((numbers == i).sum()),
            images=by_class[i].total(),
            sizes=_by_size(areas[numbers == i]),
            by_part=tuple(by_class[i][label] for label in labels),
            pixels=float(whole[i] / max(1, whole.sum())) if masks else None,
        )
        for i, name in enumerate(classes)
    ]


def image_sizes(images: Sequence[SeenImage]) -> list[tuple[tuple[int, int], tuple[int, int], int]]:
    """The most frequent sizes: (height, width), its size for the model, and the number of images."""
    found = Counter((image.size, image.target) for image in images if image.used)
    return [(size, target, count) for (size, target), count in found.most_common(MOST_SIZES)]


def tiny_boxes(image: SeenImage) -> Array:
    """(n,) bool: the boxes of which the model sees less than `TINY` pixels in one direction."""
    scale = np.array([image.target[1] / image.size[1], image.target[0] / image.size[0]])
    return np.asarray((image.boxes[:, 2:] * scale).min(axis=1, initial=np.inf) < TINY)


def joined(arrays: Sequence[Array]) -> Array:
    """One array of all, which may be none."""
    return np.concatenate(arrays) if arrays else np.zeros(0)


def is_unlabelled(image: SeenImage, background: int | None) -> bool:
    """Whether an image that is used shows no object, and none was left out. background: the class of none."""
    return not image.findings and not any(number != background for number in image.shown_classes.tolist())


def _by_size(areas: Array) -> tuple[int, int, int]:
    # COCO counts an area on a limit in both ranges; here it belongs to the smaller one.
    small, medium = AREAS["small"][1], AREAS["medium"][1]
    return (
        int((areas <= small).sum()),
        int(((areas > small) & (areas <= medium)).sum()),
        int((areas > medium).sum()),
    )
