"""Random changes to a training image, its boxes and its mask, with Numpy and Pillow only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from trainables.data.prepared import Array
from trainables.specs.trial import Augment

SMALLEST = 1.0
"""The smallest width and height, in pixels, of a box after a crop."""


@dataclass(frozen=True)
class ChangedTargets:
    """The targets of a changed image.

    boxes: (n, 4) xyxy in pixels.  kept: boxes left.  mask: (h, w).
    objects: (n, h, w) bool, the boxes' masks.
    """

    boxes: Array | None
    kept: Array
    mask: Array | None
    objects: Array | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Changed(ChangedTargets):
    """A changed image with its targets: (3, h, w) uint8."""

    image: Array


def augment_image(
    image: Array,
    boxes: Array | None,
    mask: Array | None,
    spec: Augment,
    rng: np.random.Generator,
    objects: Array | None = None,
) -> Changed:
    """Change one image of (3, h, w) uint8 and keep its size.

    All random numbers are drawn whatever `spec` is, so that enabling one change does not alter the
    others. As in DETR, a crop cuts boxes to the visible part and drops those without one.
    objects: (n, h, w) bool, the masks of the boxes.
    """
    draw = _Draw.of(rng)
    size = (image.shape[1], image.shape[2])
    found = _change_targets(size, boxes, mask, spec, draw, objects)
    changed = _change_pixels(image, spec, draw)
    return Changed(found.boxes, found.kept, found.mask, changed, objects=found.objects)


def augment_targets(
    size: tuple[int, int],
    boxes: Array | None,
    mask: Array | None,
    spec: Augment,
    rng: np.random.Generator,
    objects: Array | None = None,
) -> ChangedTargets:
    """The targets that `augment_image` gives for an image of `size` (height, width), without its pixels."""
    return _change_targets(size, boxes, mask, spec, _Draw.of(rng), objects)


@dataclass(frozen=True)
class _Draw:
    """The random numbers of one image, each in [0, 1), as NumPy draws them: their type counts in products."""

    share: float
    left: float
    top: float
    flip: float
    turn: float
    light: float
    contrast: float
    negative: float

    @classmethod
    def of(cls, rng: np.random.Generator) -> _Draw:
        share, left, top, flip, turn, light, contrast = rng.random(7)
        # On its own: the seven before it are those of trials recorded without it.
        return cls(share, left, top, flip, turn, light, contrast, negative=rng.random())

    def window(self, size: tuple[int, int], crop: float) -> tuple[int, int, int, int]:
        """The part of an image that a crop keeps."""
        return _window(size, crop + (1.0 - crop) * self.share, self.left, self.top)


def _change_targets(
    size: tuple[int, int],
    boxes: Array | None,
    mask: Array | None,
    spec: Augment,
    draw: _Draw,
    objects: Array | None,
) -> ChangedTargets:
    kept = np.arange(0 if boxes is None else len(boxes))
    if spec.crop < 1.0:
        window = draw.window(size, spec.crop)
        mask = None if mask is None else _zoom(mask, window, Image.Resampling.NEAREST)
        if boxes is not None:
            boxes, kept = _cut(boxes, window, size)
        if objects is not None:
            shown = [_zoom(objects[i].view(np.uint8), window, Image.Resampling.NEAREST) > 0 for i in kept]
            objects = np.stack(shown) if shown else objects[:0]
    height, width = size
    if draw.flip < spec.horizontal_flip:
        mask = None if mask is None else mask[:, ::-1]
        objects = None if objects is None else objects[..., ::-1]
        boxes = None if boxes is None else _mirror(boxes, width, axis=0)
    if draw.turn < spec.vertical_flip:
        mask = None if mask is None else mask[::-1]
        objects = None if objects is None else objects[:, ::-1]
        boxes = None if boxes is None else _mirror(boxes, height, axis=1)
    return ChangedTargets(boxes, kept, mask, objects=objects)


def _change_pixels(image: Array, spec: Augment, draw: _Draw) -> Array:
    if spec.crop < 1.0:
        window = draw.window((image.shape[1], image.shape[2]), spec.crop)
        image = _zoom(image.transpose(1, 2, 0), window, Image.Resampling.BILINEAR).transpose(2, 0, 1)
    if draw.flip < spec.horizontal_flip:
        image = image[:, :, ::-1]
    if draw.turn < spec.vertical_flip:
        image = image[:, ::-1]
    if draw.negative < spec.invert:
        image = 255 - image
    if spec.brightness or spec.contrast:
        brightness = 1 + spec.brightness * (2 * draw.light - 1)
        image = _relight(image, brightness, 1 + spec.contrast * (2 * draw.contrast - 1))
    return image


def _window(size: tuple[int, int], share: float, left: float, top: float) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) in whole pixels of a crop that keeps `share` of each side."""
    height, width = size
    h, w = max(1, round(share * height)), max(1, round(share * width))
    x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
    return x, y, x + w, y + h


def _zoom(pixels: Array, window: tuple[int, int, int, int], how: Image.Resampling) -> Array:
    """The window of an (h, w, 3) image or (h, w) mask, enlarged to (h, w)."""
    height, width = pixels.shape[:2]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), how, box=window))


def _cut(boxes: Array, window: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[Array, Array]:
    x0, y0, x1, y1 = window
    height, width = size
    inside = np.clip(boxes - np.array([x0, y0, x0, y0]), 0, np.array([x1 - x0, y1 - y0] * 2))
    kept = np.flatnonzero((inside[:, 2:] - inside[:, :2] >= SMALLEST).all(axis=1))
    scale = np.array([width / (x1 - x0), height / (y1 - y0)] * 2)
    return (inside[kept] * scale).astype(np.float32), kept


def _mirror(boxes: Array, size: int, *, axis: int) -> Array:
    out = boxes.copy()
    out[:, axis], out[:, axis + 2] = size - boxes[:, axis + 2], size - boxes[:, axis]
    return out


def _relight(image: Array, brightness: float, contrast: float) -> Array:
    """Scale values by brightness, and their distance from the image's mean by contrast, in one lookup."""
    table = np.arange(256, dtype=np.float32) * brightness
    mean = float(image.mean()) * brightness
    table = (table - mean) * contrast + mean
    changed: Array = np.clip(np.rint(table), 0, 255).astype(np.uint8)[image]
    return changed
