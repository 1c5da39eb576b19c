"""What one image says about its data set: how bright it is, and in which form its boxes seem to be given.

A single image proves nothing; `consistency` judges the sums over all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from trainables.data.copies import pixel_digest
from trainables.data.faults import SLACK
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.files.pixels import Photo
from trainables.data.sample import Annotations

Array = np.ndarray[Any, np.dtype[Any]]

ROUNDING = 0.01
"""The relative difference up to which an annotated area or side counts as equal."""
SMALLEST_OVERLAP = 0.5
"""The overlap (IoU) with its own polygon from which a box does not contradict it."""
FAR = 0.05
"""The share of the image's side by which a box must pass the border to be more than carelessly drawn."""


@dataclass(frozen=True)
class BoxForm:
    """Counts of boxes, which can be added up. A box whose last two numbers are 0 only fills a place.

    fit, fit_otherwise: those that have an extent and lie in the image as they are read, and in the other
    form, [x0, y0, x1, y1] for [x, y, width, height] or the reverse.  far: those without an extent, or far
    beyond the border, as they are read.  agree, agree_otherwise: those whose annotated area or polygon is
    that of one form and not of the other.  contradicted: those whose area or polygon fits neither.
    told: those that have an area or a polygon.  outlined: those whose polygon is that of the box as read.
    unit: those within 0 to 1 pixel with a fraction.  vague: those of nothing but 0 and 1.
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
    far: int = 0
    outlined: int = 0
    vague: int = 0

    def __add__(self, other: BoxForm) -> BoxForm:
        """The sums."""
        return BoxForm(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Evidence:
    """What one image says. brightest: its largest value, 0 to 255, after scaling.  deepest: see `Photo`.

    digest: of its prepared pixels.
    """

    brightest: int
    deepest: int | None
    digest: bytes
    form: BoxForm = BoxForm()
    labels: frozenset[int] = frozenset()
    """The class indices of its boxes, or of its mask's pixels."""
    orientation: int = 1
    """The EXIF orientation of its stored pixels."""


@dataclass(frozen=True, eq=False)
class Claims:
    """What area and polygon say of each box of an image, as it was read; worked out once."""

    found: Annotations

    @cached_property
    def own(self) -> tuple[Array, Array]:
        """See `_speaks`, of the boxes as they were read."""
        return _speaks(self.found, self.found.boxes)

    @cached_property
    def other(self) -> Array:
        """(n,) bool: whether area or polygon says that the box is that of the other form."""
        return _speaks(self.found, self.other_boxes)[0]

    @cached_property
    def other_boxes(self) -> Array:
        """(n, 4) xywh if the data gave the boxes in the other form."""
        return _other_form(self.found.boxes, corners=self.found.corners)

    def contradictions(self) -> Array:
        """(n,) bool: boxes that their own area or polygon says are wrong."""
        says, against = self.own
        if not self.found.turned:  # a polygon within the box may be that of the box in the other form
            drawn = np.isfinite(self.found.outlines).all(axis=1)
            against = against | (drawn & self.other & ~says)
        return np.asarray(against & np.isfinite(self.found.boxes).all(axis=1))


def evidence_of(photo: Photo, planes: bytes, claims: Claims | None, mask: Array | None = None) -> Evidence:
    """planes: the prepared pixels.  claims: those of its boxes as they were read, None if it has none.

    mask: (height, width) uint8 class indices, 255 for ignored.
    """
    highest = max(high for _, high in _extrema(photo))
    form, labels = BoxForm(), frozenset[int]()
    if claims is not None:
        found = claims.found
        form = form if found.turned or not found.judged else box_form(claims, photo.upright)
        labels = frozenset(found.labels[found.labels >= 0].tolist())
    if mask is not None:
        labels = frozenset(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()) - {IGNORE}
    return Evidence(highest, photo.deepest, pixel_digest(planes), form, labels, photo.orientation)


def _extrema(photo: Photo) -> Sequence[tuple[int, int]]:
    found: Any = photo.image.getextrema()
    return found if isinstance(found[0], tuple) else [found]


def box_form(claims: Claims, size: tuple[int, int]) -> BoxForm:
    """The counts for the readable boxes of one image of (height, width) `size`."""
    found = claims.found
    given = _as_given(found)
    # A box that was taken from its outline says nothing of those that the data give.
    counts = np.isfinite(found.boxes).all(axis=1) & ~found.drawn
    # Some tools write [0, 0, 0, 0] where there is no object: that is no form of a box.
    counts = np.asarray(counts & (given[:, 2:] != 0).any(axis=1))
    if not counts.any():
        return BoxForm()
    known, given, other = found.only(counts), given[counts], claims.other_boxes[counts]
    boxes = known.boxes
    own_says, own_against = (said[counts] for said in claims.own)
    other_says = claims.other[counts]
    outlined = np.isfinite(known.outlines).all(axis=1)
    shares = ((given >= 0) & (given <= 1)).all(axis=1)
    whole = (given == np.round(given)).all(axis=1)
    return BoxForm(
        count=len(boxes),
        fit=int(_fits(boxes, size).sum()),
        fit_otherwise=int(_fits(other, size).sum()),
        told=int((np.isfinite(known.areas) | outlined).sum()),
        agree=int((own_says & ~other_says).sum()),
        agree_otherwise=int((other_says & ~own_says).sum()),
        contradicted=int((own_against & ~other_says).sum()),
        unit=int((shares & ~whole & (given[:, 2:] > 0).all(axis=1)).sum()),
        fit_centred=int(_fits(_centred(given), size).sum()),
        far=int((~_fits(boxes, size, slack=np.maximum(SLACK, FAR * np.array(size[::-1])))).sum()),
        outlined=int((own_says & outlined).sum()),
        vague=int((shares & whole).sum()),
    )


def _as_given(found: Annotations) -> Array:
    """(n, 4) the numbers as the data give them."""
    return _other_form(found.boxes, corners=True) if found.corners else found.boxes


def _other_form(boxes: Array, *, corners: bool) -> Array:
    """xywh if the four numbers were in the other form. corners: they were read as [x0, y0, x1, y1]."""
    near, sides = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([near, near + sides if corners else sides - near], axis=1)


def _centred(numbers: Array) -> Array:
    """xywh if the four numbers were [centre x, centre y, width, height]."""
    return np.concatenate([numbers[:, :2] - numbers[:, 2:] / 2, numbers[:, 2:]], axis=1)


def _fits(boxes: Array, size: tuple[int, int], *, slack: float | Array = SLACK) -> Array:
    ends = boxes[:, :2] + boxes[:, 2:]
    inside = (boxes[:, :2] >= -slack).all(axis=1) & (ends <= np.array(size[::-1]) + slack).all(axis=1)
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
    # A pixel more or less is much of a thin box, but never all of it.
    alike = np.maximum(SMALLEST_OVERLAP, 1 - 2 * SLACK / np.maximum(2, sides.min(axis=1)))
    says = real & np.where(has_outline, overlap >= alike, equal)
    # The box of an object that is partly hidden may be whole, with the polygon of what is seen.
    elsewhere = has_outline & (overlap < SMALLEST_OVERLAP) & ~_inside(found.outlines, boxes)
    return says, (np.isfinite(found.areas) & (~real | larger)) | elsewhere


def _inside(inner: Array, outer: Array) -> Array:
    """(n,) bool, for pairs of xywh boxes: whether the first lies in the second, to within a pixel."""
    near = (inner[:, :2] >= outer[:, :2] - SLACK).all(axis=1)
    ends = inner[:, :2] + inner[:, 2:], outer[:, :2] + outer[:, 2:] + SLACK
    return np.asarray(near & (ends[0] <= ends[1]).all(axis=1) & (outer[:, 2:] > 0).all(axis=1))


def _overlap(first: Array, second: Array) -> Array:
    """(n,) IoU of pairs of xywh boxes; 0 where one has no extent or is not known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.maximum(first[:, :2], second[:, :2])
        far = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
        common = np.prod(np.clip(far - near, 0, None), axis=1)
        both = np.prod(first[:, 2:], axis=1) + np.prod(second[:, 2:], axis=1) - common
        return np.asarray(np.nan_to_num(common / both))
