"""Which images have a hit, a detection that counts as true for a COCO metric, without matching them all.

COCO matches detections greedily by decreasing score. Of a detection and an object that could be matched,
either the object is taken by another detection, which then is a hit, or the detection takes an object:
so an image has a hit if and only if there is such a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.metrics.coco import AREAS, Array, CocoTruth, Detections
from trainables.metrics.overlap import overlaps_of


@dataclass(frozen=True)
class HitRule:
    """overlap: the least IoU.  limit: the detections that count by image and class.  sizes: areas."""

    overlap: float
    limit: int
    sizes: tuple[float, float]

    @classmethod
    def of(cls, base: str) -> HitRule:
        """The rule of `map`, `map_75`, `mar_10`, `map_small`, …"""
        _, _, which = base.partition("_")
        limit = int(which) if base.startswith("mar_") and which.isdigit() else 100
        return cls(0.75 if base == "map_75" else 0.5, limit, AREAS.get(which, AREAS["all"]))

    def counts(self, areas: Array, crowds: Array) -> Array:
        """(n,) bool: the objects that count. areas: (n,) as annotated.  crowds: (n,) bool."""
        low, high = self.sizes
        counted: Array = ~crowds & (areas >= low) & (areas <= high)
        return counted


def hits_by_image(
    truths: Sequence[CocoTruth], detections: Sequence[Detections], classes: int, base: str
) -> tuple[Array, Array]:
    """(n, classes) bool, twice: the images with a hit of a class, and those with an object that counts."""
    rule = HitRule.of(base)
    hits = np.zeros((len(truths), classes), bool)
    objects = np.zeros((len(truths), classes), bool)
    for image, (truth, found) in enumerate(zip(truths, detections, strict=True)):
        counted = rule.counts(truth.areas, truth.crowds)
        if not counted.any():
            continue
        labels = truth.labels[counted]
        objects[image, labels] = True
        if not len(found.scores):
            continue
        kept = _first(found, rule.limit)
        called = found.labels[kept]
        pairs = called[:, None] == labels[None]
        if pairs.any():
            no_crowds = np.zeros(len(labels), bool)
            near = pairs & (overlaps_of(found, truth, no_crowds, some=kept, only=counted) >= rule.overlap)
            hits[image, labels[near.any(axis=0)]] = True
    return hits, objects


def _first(found: Detections, limit: int) -> Array:
    """The indices of the `limit` best detections of each class."""
    order = np.argsort(-found.scores, kind="stable")
    if len(order) <= limit:
        return order
    labels = found.labels[order]
    by_class = np.argsort(labels, kind="stable")
    ordered = labels[by_class]
    starts = np.searchsorted(ordered, ordered, side="left")
    kept: Array = order[by_class[np.arange(len(ordered)) - starts < limit]]
    return kept
