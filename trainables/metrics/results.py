"""What an evaluation knows of each image, for storage and for intervals above the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trainables.metrics.coco import Array, CocoTruth, Detections
from trainables.metrics.floors import SOFT_DICE
from trainables.metrics.hits import hits_by_image
from trainables.metrics.intervals import (
    Sampled,
    chance_of_a_class_without_hit,
    chance_of_nothing,
    resampled_masks,
    resampled_soft_dice,
)
from trainables.metrics.per_image import MaskImages, PerImage, box_images
from trainables.specs.tasks import MAP_WORST, is_coco
from trainables.specs.workload import MetricName


class Results(Protocol):
    """The results of a split's images, in its order."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the images."""
        ...

    def by_image(self) -> PerImage:
        """The results as they are stored."""
        ...

    def above_floor(self, metric: MetricName) -> Sampled | None:
        """A metric minus its floor over resamples of the images; None if it has no floor."""
        ...


Keep = Callable[[Results], None]
"""Receives the results of the images of a split at the end of an evaluation."""


@dataclass(frozen=True)
class MaskResults:
    """images: the pixel counts.  soft: (n, 3, classes) overlap, predicted and true, see `Measures`."""

    images: MaskImages
    soft: Array

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the images."""
        return self.images.names

    def by_image(self) -> PerImage:
        """The pixel counts."""
        return self.images

    def above_floor(self, metric: MetricName) -> Sampled | None:
        """Resampled pixel counts; for `soft_dice`, resampled groups of images."""
        if not len(self.names):
            return None
        if metric.name == SOFT_DICE:
            return resampled_soft_dice(self.soft)
        if metric.name not in self.images.metrics:
            return None
        images = self.images
        return resampled_masks(images.counts, metric.name, images.classes, images.rules)


@dataclass(frozen=True)
class BoxResults:
    """Objects and detections by image, in the same order; they are matched only if they are stored."""

    truths: Sequence[CocoTruth]
    detections: Sequence[Detections]
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def by_image(self) -> PerImage:
        """The detections and their matches."""
        return box_images(self.truths, self.detections, self.classes, self.names)

    def above_floor(self, metric: MetricName) -> Sampled | None:
        """The chance of a resample without a hit; for `map_worst`, of a class without one."""
        if not is_coco(metric.base) or not len(self.names):
            return None
        hits, objects = hits_by_image(self.truths, self.detections, len(self.classes), metric.base)
        if metric.base == MAP_WORST:
            return chance_of_a_class_without_hit(hits, objects)
        if metric.of_class is None:
            places = list(range(len(self.classes)))
        elif metric.of_class in self.classes:
            places = [self.classes.index(metric.of_class)]
        else:
            return None
        return chance_of_nothing(np.any(hits[:, places], axis=1))
