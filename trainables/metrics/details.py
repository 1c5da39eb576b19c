"""What a metric sums up: precision at each recall, what is taken for what, and thresholds of scores."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import DataError
from trainables.metrics.coco import Array, CocoTruth, Detections
from trainables.metrics.overlap import overlaps_of
from trainables.metrics.per_image import RECALLS, BoxImages
from trainables.metrics.threshold import IOU, OperatingPoint

UNCHOSEN = 0.5
"""The score threshold where none was chosen, because no box on the validation images is right."""
BACKGROUND = "background"
"""The row of detections without an object, and the column of objects without a detection."""


@dataclass(frozen=True)
class Thresholds:
    """Score thresholds with the highest F1, chosen on one set of images.

    whole: for all classes together; None if no box is right.  by_class: for each class with a right box.
    """

    whole: OperatingPoint | None = None
    by_class: Mapping[str, OperatingPoint] = field(default_factory=dict)

    def of(self, name: str) -> float:
        """The threshold of a class; the common one where it has none of its own."""
        point = self.by_class.get(name, self.whole)
        return UNCHOSEN if point is None else point.threshold


@dataclass(frozen=True)
class Details:
    """The details of a model on one set of images.

    rows: what is true and what is predicted: the classes, for boxes with `BACKGROUND` at the end.
    confusion: (rows, rows) int64: objects, or pixels of masks, by truth and prediction.
    precision: at each of COCO's 101 recalls, by class; empty for masks.  thresholds: of boxes.
    """

    rows: tuple[str, ...]
    confusion: Array
    precision: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    thresholds: Thresholds | None = None

    @property
    def of_boxes(self) -> bool:
        """Whether objects were counted, and not pixels."""
        return self.thresholds is not None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {"rows": list(self.rows), "confusion": self.confusion.tolist()}
        if self.thresholds is None:
            return found
        chosen = {n: [p.threshold, p.f1] for n, p in self.thresholds.by_class.items()}
        whole = self.thresholds.whole
        return found | {
            "iou": IOU,
            "precision": {name: list(values) for name, values in self.precision.items()},
            "threshold": None if whole is None else [whole.threshold, whole.f1],
            "thresholds": chosen,
        }

    @classmethod
    def of_record(cls, held: Mapping[str, Any]) -> Details:
        """From JSON. Raises ValueError, KeyError or TypeError for another form."""
        rows = tuple(str(name) for name in held["rows"])
        confusion = np.asarray(held["confusion"], np.int64).reshape(len(rows), len(rows))
        if "thresholds" not in held:
            return cls(rows, confusion)
        whole = held["threshold"]
        thresholds = Thresholds(
            None if whole is None else OperatingPoint(*map(float, whole)),
            {str(name): OperatingPoint(*map(float, point)) for name, point in held["thresholds"].items()},
        )
        precision = {str(n): tuple(map(float, values)) for n, values in held["precision"].items()}
        if any(len(values) != len(RECALLS) for values in precision.values()):
            raise ValueError(f"precision must have {len(RECALLS)} values")
        return cls(rows, confusion, precision, thresholds)


def write_details(details: Details, path: Path) -> None:
    """Write a JSON file, completely or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(details.record(), ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_details(path: Path) -> Details | None:
    """Read the file; None if there is none. Raises DataError if it is damaged."""
    try:
        return Details.of_record(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as details of results ({error}); score the trial again"
        ) from error


def precision_at_recalls(images: BoxImages) -> dict[str, tuple[float, ...]]:
    """Precision at IoU 0.5 at each of COCO's recalls, for each class that has objects.

    Interpolated as in COCO's evaluation, so that the mean over recalls and classes is `map_50`.
    """
    found = {}
    for label, name in enumerate(images.classes):
        objects = int(images.objects[:, label].sum())
        if not objects:
            continue
        chosen = np.flatnonzero((images.label == label) & ~images.ignored[:, 0])
        chosen = chosen[np.argsort(-images.score[chosen], kind="mergesort")]
        right = np.cumsum(images.hit[chosen, 0])
        precision = right / (np.arange(1, len(chosen) + 1) + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(right / objects, RECALLS, side="left")
        values = np.where(at < len(envelope), np.append(envelope, 0.0)[np.minimum(at, len(envelope))], 0.0)
        found[name] = tuple(values.tolist())
    return found


def box_confusion(
    truths: Sequence[CocoTruth],
    detections: Sequence[Detections],
    classes: Sequence[str],
    thresholds: Thresholds,
) -> Array:
    """(classes + 1, classes + 1) int64: objects by true and predicted class, the last being no object.

    Detections that reach the threshold of their class are matched by decreasing score, each with the free
    object of any class that has the largest IoU, at least 0.5. Crowds are left out, and with them detections
    that match nothing else.
    """
    least = np.array([thresholds.of(name) for name in classes])
    count = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for truth, found in zip(truths, detections, strict=True):
        crowds = truth.crowds.astype(bool)
        free = ~crowds
        kept = (
            np.flatnonzero(found.scores >= least[found.labels])
            if len(found.labels)
            else np.zeros(0, np.int64)
        )
        overlap = overlaps_of(found, truth, crowds, some=kept)
        for place in np.argsort(-found.scores[kept], kind="stable").tolist():
            predicted = found.labels[kept[place]]
            able = np.where(free, overlap[place], -1.0) if free.size else np.zeros(0)
            best = int(np.argmax(able)) if able.size else -1
            if best >= 0 and able[best] >= IOU:
                count[truth.labels[best], predicted] += 1
                free[best] = False
            elif not bool((overlap[place][crowds] >= IOU).any()):
                count[-1, predicted] += 1
        np.add.at(count[:, -1], truth.labels[free].astype(np.int64), 1)
    return count
