"""What one image says about its data set: how bright it is, and in which form its boxes seem to be given.

A single image proves nothing; `consistency` judges the sums over all images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from trainables.data.faults import SLACK
from trainables.data.files.pixels import Photo
from trainables.data.sample import Annotations

Array = np.ndarray[Any, np.dtype[Any]]

ROUNDING = 0.01
"""The relative difference up to which an annotated area or side counts as equal."""
SMALLEST_OVERLAP = 0.5
"""The overlap (IoU) with its own polygon from which a box does not contradict it."""


@dataclass(frozen=True)
class BoxForm:
    """Counts of boxes, which can be added up.

    fit, fit_otherwise: those that have an extent and lie in the image as they are read, and in the other
    form, [x0, y0, x1, y1] for [x, y, width, height] or the reverse.  agree, agree_otherwise: those whose
    annotated area or polygon is that of one form and not of the other.  contradicted: those whose area or
    polygon fits neither.  told: those that have an area or a polygon.  unit: those within 0 to 1 pixel.
    fit_centred: those that lie in the image if the first two numbers are the centre, as in YOLO's files.
    """

    count: int = 0
    fit: int = 0
    fit_otherwise: int = 0
    told: int = 0
    agree: int = 0
    agree_otherwise: int = 0
    contradicted: int = 0
    unit: int = 0
    fit_centred: int = 0

    def __add__(self, other: BoxForm) -> BoxForm:
        """The sums."""
        return BoxForm(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Evidence:
    """What one image says. brightest: its largest value, 0 to 255, after scaling.  deepest: see `Photo`.

    digest: of its pixels.
    """

    brightest: int
    deepest: int | None
    digest: bytes
    form: BoxForm = BoxForm()
    labels: frozenset[int] = frozenset()
    """The class indices of its boxes."""


def evidence_of(photo: Photo, planes: bytes, found: Annotations | None) -> Evidence:
    """planes: the prepared pixels.  found: its boxes as they were read, None if it has none."""
    highest = max(high for _, high in _extrema(photo))
    form = BoxForm() if found is None or found.turned else box_form(found, photo.upright)
    labels = frozenset() if found is None else frozenset(found.labels[found.labels >= 0].tolist())
    return Evidence(highest, photo.deepest, hashlib.blake2b(planes, digest_size=16).digest(), form, labels)


def _extrema(photo: Photo) -> Sequence[tuple[int, int]]:
    found: Any = photo.image.getextrema()
    return found if isinstance(found[0], tuple) else [found]


def box_form(found: Annotations, size: tuple[int, int]) -> BoxForm:
    """The counts for the readable boxes of one image of (height, width) `size`."""
    known = found.only(np.asarray(np.isfinite(found.boxes).all(axis=1)))
    boxes = known.boxes
    if not len(boxes):
        return BoxForm()
    other = _other_form(boxes, corners=known.corners)
    own_says, own_against = _speaks(known, boxes)
    other_says, _ = _speaks(known, other)
    told = np.isfinite(known.areas) | np.isfinite(known.outlines).all(axis=1)
    raw = _other_form(boxes, corners=True) if known.corners else boxes
    return BoxForm(
        count=len(boxes),
        fit=int(_fits(boxes, size).sum()),
        fit_otherwise=int(_fits(other, size).sum()),
        told=int(told.sum()),
        agree=int((own_says & ~other_says).sum()),
        agree_otherwise=int((other_says & ~own_says).sum()),
        contradicted=int((own_against & ~other_says).sum()),
        unit=int(((raw >= 0) & (raw <= 1)).all(axis=1).sum()),
        fit_centred=int(_fits(_centred(raw), size).sum()),
    )


def contradictions(found: Annotations) -> Array:
    """(n,) bool: boxes that their own area or polygon says are wrong."""
    return np.asarray(_speaks(found, found.boxes)[1] & np.isfinite(found.boxes).all(axis=1))


def _other_form(boxes: Array, *, corners: bool) -> Array:
    """xywh if the four numbers were in the other form. corners: they were read as [x0, y0, x1, y1]."""
    near, sides = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([near, near + sides if corners else sides - near], axis=1)


def _centred(numbers: Array) -> Array:
    """xywh if the four numbers were [centre x, centre y, width, height]."""
    return np.concatenate([numbers[:, :2] - numbers[:, 2:] / 2, numbers[:, 2:]], axis=1)


def _fits(boxes: Array, size: tuple[int, int]) -> Array:
    ends = boxes[:, :2] + boxes[:, 2:]
    inside = (boxes[:, :2] >= -SLACK).all(axis=1) & (ends <= np.array(size[::-1]) + SLACK).all(axis=1)
    return np.asarray(inside & (boxes[:, 2:] > 0).all(axis=1))


def _speaks(found: Annotations, boxes: Array) -> tuple[Array, Array]:
    """(n,) whether area or polygon says that these are the boxes, and whether one says that they are not."""
    sides = boxes[:, 2:]
    real = (sides > 0).all(axis=1)
    own = np.where(real, sides[:, 0] * sides[:, 1], 0.0)
    with np.errstate(invalid="ignore"):
        equal = np.abs(found.areas - own) <= ROUNDING * own + SLACK
        # An area that is counted in whole pixels may include both borders.
        larger = found.areas > (1 + ROUNDING) * (sides[:, 0] + 1) * (sides[:, 1] + 1) + SLACK
    has_outline = np.isfinite(found.outlines).all(axis=1)
    overlap = _overlap(found.outlines, boxes)
    says = real & np.where(has_outline, overlap >= 1 - 2 * SLACK / np.maximum(2, sides.min(axis=1)), equal)
    against = (np.isfinite(found.areas) & (~real | larger)) | (has_outline & (overlap < SMALLEST_OVERLAP))
    return says, against


def _overlap(first: Array, second: Array) -> Array:
    """(n,) IoU of pairs of xywh boxes; 0 where one has no extent or is not known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.maximum(first[:, :2], second[:, :2])
        far = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
        common = np.prod(np.clip(far - near, 0, None), axis=1)
        both = np.prod(first[:, 2:], axis=1) + np.prod(second[:, 2:], axis=1) - common
        return np.asarray(np.nan_to_num(common / both))
