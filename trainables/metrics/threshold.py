"""The score threshold of a detector: where its boxes agree best with the true boxes.

AP needs no threshold, but drawing and counting boxes does, and scores of two adapters are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.metrics.coco import Array, CocoTruth, Detections
from trainables.metrics.overlap import overlaps_of

IOU = 0.5
"""The IoU from which a detection counts as a true object of its class."""
DECIMALS = 6
"""A threshold is rounded down to this many decimals, the number of a score in a file."""


@dataclass(frozen=True)
class OperatingPoint:
    """A score threshold, and the F1 of all detections that reach it."""

    threshold: float
    f1: float


def best_f1(truths: Sequence[CocoTruth], detections: Sequence[Detections]) -> OperatingPoint | None:
    """The threshold with the highest F1 at IoU 0.5 over all images and classes; None if no box is right.

    F1 = 2 TP / (detections + objects), with objects and detections of all classes counted together. Objects
    are matched as in COCO's evaluation: class by class, by decreasing score, each to the free object with
    the largest IoU; what matches only a crowd does not count. As a match depends on higher scores alone,
    one matching serves every threshold. Of equal F1, the highest threshold.
    """
    objects = sum(int((~truth.crowds.astype(bool)).sum()) for truth in truths)
    score, hit, _ = _all_matched(truths, detections)
    return _best(score, hit, objects)


def best_f1_by_class(
    truths: Sequence[CocoTruth], detections: Sequence[Detections], classes: Sequence[str]
) -> dict[str, OperatingPoint]:
    """The threshold of each class with the highest F1 of its own detections and objects; see `best_f1`.

    Classes of which no box is right are left out.
    """
    score, hit, label = _all_matched(truths, detections)
    objects = np.zeros(len(classes), np.int64)
    for truth in truths:
        np.add.at(objects, truth.labels[~truth.crowds.astype(bool)].astype(np.int64), 1)
    found = {
        name: _best(score[label == i], hit[label == i], int(objects[i])) for i, name in enumerate(classes)
    }
    return {name: point for name, point in found.items() if point is not None}


def _all_matched(truths: Sequence[CocoTruth], detections: Sequence[Detections]) -> tuple[Array, Array, Array]:
    """Score, whether it hits, and label of each detection that counts, over all images."""
    scores, hits, labels = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, np.int64)]
    for truth, found in zip(truths, detections, strict=True):
        hit, counts = _matched(truth, found)
        scores.append(found.scores[counts])
        hits.append(hit[counts])
        labels.append(found.labels[counts])
    return np.concatenate(scores).astype(np.float64), np.concatenate(hits), np.concatenate(labels)


def _best(score: Array, hit: Array, objects: int) -> OperatingPoint | None:
    """The threshold with the highest F1 among detections; None if none hits."""
    order = np.argsort(-score, kind="stable")
    score, right = score[order], np.cumsum(hit[order])
    f1 = 2 * right / (np.arange(1, len(score) + 1) + objects)
    # Detections of one score are taken together: a threshold cannot separate them.
    last = np.append(score[1:] != score[:-1], True) if len(score) else np.zeros(0, bool)
    f1 = np.where(last, f1, -1.0)
    if not right.size or right[-1] == 0:
        return None
    best = int(np.argmax(f1))
    return OperatingPoint(math.floor(score[best] * 10**DECIMALS) / 10**DECIMALS, float(f1[best]))


def _matched(truth: CocoTruth, found: Detections) -> tuple[Array, Array]:
    """(n,) bool each: whether a detection of an image hits an object, and whether it counts at all."""
    hit, counts = np.zeros(len(found.scores), bool), np.ones(len(found.scores), bool)
    if not len(found.scores) or not len(truth.labels):
        return hit, counts
    crowds = truth.crowds.astype(bool)
    overlap = overlaps_of(found, truth, crowds)
    overlap[found.labels[:, None] != truth.labels[None]] = -1.0
    free = ~crowds
    near = np.flatnonzero((overlap >= IOU).any(axis=1))  # no other detection can match anything
    for place in near[np.argsort(-found.scores[near], kind="stable")]:
        able = np.where(free, overlap[place], -1.0)
        best = int(np.argmax(able))
        if able[best] >= IOU:
            hit[place], free[best] = True, False
        elif bool((overlap[place, crowds] >= IOU).any()):
            counts[place] = False
    return hit, counts
