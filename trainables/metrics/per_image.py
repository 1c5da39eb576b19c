"""A model's results on each test image, stored so that a metric can be computed over any sample of them.

Dice and IoU come from pixel counts by class, AP from each detection's matches under the COCO protocol.
Over all images, each once, the metrics are equal to the reported ones.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainables.errors import DataError
from trainables.metrics.coco import Array, CocoTruth, Detections, match_with_hotcoco
from trainables.metrics.mask_means import mask_names, mask_values
from trainables.metrics.rules import MetricRules
from trainables.specs.definitions import BEFORE, Definitions, complete
from trainables.specs.tasks import MAP_WORST

THRESHOLDS = 10
"""The number of IoU thresholds: .5, .55, … .95."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO's recall thresholds."""
MOST_IMAGES = 50_000
"""The largest split with stored results, so that a trial takes a few megabytes at most."""

AP_METRICS = {"map": slice(0, THRESHOLDS), "map_50": slice(0, 1), "map_75": slice(5, 6)}
"""The IoU thresholds that each metric is the mean over."""


@dataclass(frozen=True)
class _Images(ABC):
    """Results by image. names: the names of the n images."""

    classes: tuple[str, ...]
    names: tuple[str, ...]

    @abstractmethod
    def resampled(self, name: str, weights: Array) -> Array:
        """(R,) metrics for (R, n) weights."""

    def metric(self, name: str, weights: Array | None = None) -> float:
        """A metric with each image counted `weights` times ((n,) integers; once when absent).

        NaN if the metric is undefined on these images. Raises KeyError if it is unknown.
        """
        once = np.ones(len(self.names), np.int64)
        return float(self.resampled(name, (once if weights is None else weights)[None])[0])


@dataclass(frozen=True)
class MaskImages(_Images):
    """Pixel counts. counts: (n, 3, classes) int64: correct, true, predicted.  rules: of the metrics."""

    counts: Array
    rules: MetricRules = field(default_factory=MetricRules)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that can be computed."""
        return mask_names(self.classes, self.rules)

    def resampled(self, name: str, weights: Array) -> Array:
        """(R,) metrics for (R, n) weights."""
        if name not in self.metrics:
            raise KeyError(name)
        total = np.einsum(
            "rn,nkc->krc", weights.astype(np.float64), self.counts.astype(np.float64), optimize=True
        )
        right, truth, predicted = total
        return mask_values(right, truth, predicted, name, self.classes, self.rules)


@dataclass(frozen=True)
class BoxImages(_Images):
    """Detections and their matches, for objects of every size, at most 100 detections per image.

    objects: (n, classes) counted objects.  Each detection: image and label (d,) indices, score (d,)
    float64, hit and ignored (d, 10) bool by IoU threshold. The order is that of COCO's evaluation: by
    image, then by score.
    """

    objects: Array
    image: Array
    label: Array
    score: Array
    hit: Array
    ignored: Array

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that can be computed."""
        return (*AP_METRICS, MAP_WORST, *(f"{base}/{name}" for base in AP_METRICS for name in self.classes))

    def resampled(self, name: str, weights: Array) -> Array:
        """(R,) metrics for (R, n) weights."""
        base, label = _taken_apart(name, self.metrics)
        wanted = range(len(self.classes)) if label is None else [self.classes.index(label)]
        places = range(THRESHOLDS)[AP_METRICS["map" if base == MAP_WORST else base]]
        found = np.full((len(weights), len(wanted)), np.nan)
        for column, index in enumerate(wanted):
            curves = [self._curves[index][place] for place in places]
            for row, weight in enumerate(weights):
                objects = float(self.objects[:, index] @ weight)
                if objects > 0:
                    found[row, column] = np.mean([curve.precision(weight, objects) for curve in curves])
        defined = ~np.isnan(found)
        if base == MAP_WORST:
            least: Array = np.where(defined, found, np.inf).min(axis=1)
            return np.where(np.isfinite(least), least, np.nan)
        sums = np.where(defined, found, 0.0).sum(axis=1)
        means: Array = np.where(defined.any(axis=1), sums / np.maximum(defined.sum(axis=1), 1), np.nan)
        # `map` of images without a single object is 0, as reported; others are left out.
        return np.nan_to_num(means, nan=0.0) if name == "map" else means

    @cached_property
    def _curves(self) -> list[list[_Curve]]:
        """The curves by class and IoU threshold."""
        curves = []
        for index in range(len(self.classes)):
            chosen = np.flatnonzero(self.label == index)
            # A stable sort like COCO's: ties stay in the order of the images.
            chosen = chosen[np.argsort(-self.score[chosen], kind="mergesort")]
            curves.append([self._curve(chosen, place) for place in range(THRESHOLDS)])
        return curves

    def _curve(self, chosen: Array, place: int) -> _Curve:
        counted = chosen[~self.ignored[chosen, place]]
        hit = self.hit[counted, place]
        # Detections after the last hit do not change any precision that counts.
        length = int(np.flatnonzero(hit)[-1]) + 1 if hit.any() else 0
        return _Curve(self.image[counted[:length]], np.flatnonzero(hit[:length]))


@dataclass(frozen=True)
class _Curve:
    """Detections by decreasing score up to the last hit: their images, and the indices of the hits."""

    image: Array
    hits: Array

    def precision(self, weight: Array, objects: float) -> float:
        """COCO's interpolated precision, a mean over 101 recalls.

        Recall and the envelope change at hits only, so only hits are evaluated. An image that counts
        twice gives two detections of one score: the envelope is the same as if both were added at once.
        """
        if not self.hits.size:
            return 0.0
        each = weight[self.image]
        called = np.cumsum(each)[self.hits]
        right = np.cumsum(each[self.hits])
        precision = right / (called + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(right / objects, RECALLS, side="left")
        return float(np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0.0).mean())


PerImage = MaskImages | BoxImages


def box_images(
    truths: Sequence[CocoTruth],
    detections: Sequence[Detections],
    classes: Sequence[str],
    names: Sequence[str],
) -> BoxImages:
    """Match under the COCO protocol; images are in the same order in all sequences."""
    objects = np.zeros((len(truths), len(classes)), np.int64)
    parts: list[tuple[Array, ...]] = []
    for found in match_with_hotcoco(truths, detections, classes).eval_imgs:
        if found is None or found["aRng"][1] < 1e10 or found["aRng"][0] > 0:
            continue
        image, label = found["image_id"] - 1, found["category_id"] - 1
        objects[image, label] = sum(found["gtInDenominator"])
        scores = np.asarray(found["dtScores"], np.float64)
        if scores.size:
            hit = np.asarray(found["dtMatched"], bool).T
            ignored = np.asarray(found["dtIgnore"], bool).T
            parts.append(
                (np.full(scores.size, image), np.full(scores.size, label), scores, hit & ~ignored, ignored)
            )
    if not parts:
        none = np.zeros(0, np.int64)
        flags = np.zeros((0, THRESHOLDS), bool)
        return BoxImages(tuple(classes), tuple(names), objects, none, none, np.zeros(0), flags, flags)
    image, label, score, hit, ignored = (np.concatenate(column) for column in zip(*parts, strict=True))
    return BoxImages(tuple(classes), tuple(names), objects, image, label, score, hit, ignored)


def _taken_apart(name: str, known: Sequence[str]) -> tuple[str, str | None]:
    if name not in known:
        raise KeyError(name)
    base, slash, label = name.partition("/")
    return base, label if slash else None


# --- files ------------------------------------------------------------------------------------


def write_per_image(results: PerImage, path: Path) -> None:
    """Write an `.npz` at `path`, completely or not at all. Raises OSError."""
    held: dict[str, Any] = {"classes": np.array(results.classes), "names": np.array(results.names)}
    match results:
        case MaskImages():
            rules = results.rules
            held |= {"counts": results.counts, "definitions": np.array(rules.definitions.model_dump_json())}
            if rules.background is not None:
                held |= {"background": np.array(rules.background)}
        case BoxImages():
            held |= {
                "objects": results.objects.astype(np.int32),
                "image": results.image.astype(np.int32),
                "label": results.label.astype(np.int32),
                "score": results.score,
                "hit": np.packbits(results.hit, axis=1),
                "ignored": np.packbits(results.ignored, axis=1),
            }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **held)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_per_image(path: Path) -> PerImage:
    """Read the results. Raises DataError if the file is missing, damaged or in another format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        classes, names = (tuple(str(item) for item in held.pop(key)) for key in ("classes", "names"))
        if "counts" in held:
            counts = held["counts"].reshape(len(names), 3, len(classes))
            return MaskImages(classes, names, counts, _rules(held))
        for key in ("hit", "ignored"):
            held[key] = np.unpackbits(held[key], axis=1, count=THRESHOLDS).astype(bool)
        results = BoxImages(classes, names, **held)
        if results.objects.shape != (len(names), len(classes)) or len(results.hit) != len(results.score):
            raise ValueError("its parts are inconsistent")

        return results
    except FileNotFoundError as error:
        raise DataError(
            f"no results by image: {path} does not exist; they are kept when a trial is scored"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read as results by image ({error}); score the trial again"
        ) from error


def _rules(held: dict[str, Any]) -> MetricRules:
    """The rules in a file of masks; a file without any is of before."""
    if "definitions" not in held:
        return MetricRules(BEFORE)
    background = str(held["background"]) if "background" in held else None
    named = complete(json.loads(str(held["definitions"])))
    return MetricRules(Definitions.model_validate(named), background)


def are_stored(images: int) -> bool:
    """Whether results of this number of images are stored."""

    return 0 < images <= MOST_IMAGES
