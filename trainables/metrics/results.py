"""What an evaluation knows of each image, for storage and for intervals above the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trainables.metrics.coco import Array, CocoTruth, Detections
from trainables.metrics.details import (
    BACKGROUND,
    Details,
    Thresholds,
    box_confusion,
    precision_at_recalls,
)
from trainables.metrics.floors import SOFT_DICE
from trainables.metrics.hits import hits_by_image
from trainables.metrics.intervals import (
    Sampled,
    chance_of_a_class_without_hit,
    chance_of_nothing,
    resampled_masks,
    resampled_soft_dice,
)
from trainables.metrics.per_image import BoxImages, MaskImages, PerImage, box_images
from trainables.metrics.threshold import best_f1, best_f1_by_class
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

    def thresholds(self) -> Thresholds | None:
        """The score thresholds with the highest F1 on these images; None for masks."""
        ...

    def details(self, thresholds: Thresholds | None) -> Details | None:
        """Precision, confusion and thresholds, which were chosen on other images; None if not known."""
        ...

    def above_floor(self, metric: MetricName) -> Sampled | None:
        """A metric minus its floor over resamples of the images; None if it has no floor."""
        ...


Keep = Callable[[Results], None]
"""Receives the results of the images of a split at the end of an evaluation."""


@dataclass(frozen=True)
class MaskResults:
    """images: the pixel counts.  soft: (n, 3, classes) overlap, predicted and true, see `Measures`.

    confusion: (classes, classes) pixels of all images by true and predicted class, if they were counted.
    """

    images: MaskImages
    soft: Array
    confusion: Array | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the images."""
        return self.images.names

    def by_image(self) -> PerImage:
        """The pixel counts."""
        return self.images

    def thresholds(self) -> None:
        """Masks need none."""

    def details(self, thresholds: Thresholds | None) -> Details | None:
        """The pixels that are taken for others."""
        return None if self.confusion is None else Details(self.images.classes, self.confusion)

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

    def by_image(self) -> BoxImages:
        """The detections and their matches."""
        return box_images(self.truths, self.detections, self.classes, self.names)

    def thresholds(self) -> Thresholds:
        """For all classes together, and for each."""
        return Thresholds(
            best_f1(self.truths, self.detections),
            best_f1_by_class(self.truths, self.detections, self.classes),
        )

    def details(self, thresholds: Thresholds | None) -> Details:
        """Matched under the COCO protocol for precision, and across classes for the confusion."""
        chosen = thresholds or Thresholds()
        return Details(
            (*self.classes, BACKGROUND),
            box_confusion(self.truths, self.detections, self.classes, chosen),
            precision_at_recalls(self.by_image()),
            chosen,
        )

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
