"""Corruptions of an image: its boxes and masks stay valid.

Blur, noise, contrast, brightness and JPEG are those of Hendrycks & Dietterich 2019 ("Benchmarking
Neural Network Robustness to Common Corruptions and Perturbations", ImageNet-C) at their five
severities; blur is their Gaussian blur. `style` is ours: mixed colours, few levels, drawn edges.
Each is a function of (image, its name, kind, severity), so a metric never depends on the caller.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from PIL import Image, ImageFilter

from trainables.data.prepared import Array, PreparedSplit
from trainables.specs.data import Corruption, CorruptionSpec
from trainables.specs.workload import Task

SIGMA = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Sigma of the blur in pixels, for an image of BLURRED_SIDE; it scales with the image."""
BLURRED_SIDE = 224
DEVIATION = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation of the noise, as a share of white."""
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
"""The remaining share of each value's distance from the image's mean colour."""
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Added to the brightest channel, hue and saturation kept."""
QUALITY = (25, 18, 15, 10, 7)
"""The JPEG quality."""
STYLE = ((0.2, 16, 0.6), (0.4, 12, 0.9), (0.6, 10, 1.2), (0.8, 8, 1.6), (1.0, 7, 2.0))
"""The degree of colour mixing, the levels that a channel keeps, the darkness of the edges."""
MIXED = np.array([[0.02, 0.93, 0.05], [0.05, 0.05, 0.90], [0.93, 0.02, 0.05]], np.float32)
"""The shares of red, green and blue in each channel; rows add up to 1, so grey stays grey."""
KEPT_BYTES = 256 * 2**20
"""Bytes of corrupted images that a split caches, so that an objective under shift computes them once."""


def corrupt_image(image: Array, spec: CorruptionSpec, name: str) -> Array:
    """Corrupt an (h, w, 3) uint8 image. name: the image's name, which seeds its noise."""
    at = spec.severity - 1
    match spec.kind:
        case Corruption.BLUR:
            radius = SIGMA[at] * min(image.shape[:2]) / BLURRED_SIDE
            return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
        case Corruption.NOISE:
            draws = _generator(spec, name).normal(0, DEVIATION[at], image.shape)
            return _bytes(image / 255 + draws)
        case Corruption.CONTRAST:
            mean = (image / 255).mean((0, 1), keepdims=True)
            return _bytes((image / 255 - mean) * CONTRAST[at] + mean)
        case Corruption.BRIGHTNESS:
            return _brighter(image / 255, BRIGHTNESS[at])
        case Corruption.JPEG:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=QUALITY[at])
            return np.asarray(Image.open(file).convert("RGB"))
        case Corruption.STYLE:
            return _stylised((image / 255).astype(np.float32), *STYLE[at])
        case _:
            assert_never(spec.kind)


class CorruptedSplit(PreparedSplit):
    """A split with images that are corrupted as they are read; annotations stay the same."""

    def __init__(
        self, path: Path, task: Task, corruption: CorruptionSpec, rows: Sequence[int] | None = None
    ) -> None:
        """See `PreparedSplit`."""
        super().__init__(path, task, rows)
        self.corruption = corruption
        self._kept: dict[int, Array] = {}
        self._kept_bytes = 0

    @classmethod
    def of(cls, split: PreparedSplit, corruption: CorruptionSpec) -> CorruptedSplit:
        """`split` with corrupted images."""
        return cls(split.path, split.task, corruption, split.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the split as its path and the corruption."""
        return CorruptedSplit, (self.path, self.task, self.corruption, self.rows)

    def only(self, rows: Sequence[int]) -> CorruptedSplit:
        """A split with only these images, with the same corruption."""
        return CorruptedSplit.of(super().only(rows), self.corruption)

    def planes(self, i: int) -> Array:
        """Image i as (3, height, width) uint8, corrupted."""
        if i in self._kept:
            return self._kept[i]
        image = np.ascontiguousarray(super().planes(i).transpose(1, 2, 0))
        changed = np.ascontiguousarray(
            corrupt_image(image, self.corruption, self.names[i]).transpose(2, 0, 1)
        )
        changed.setflags(write=False)
        if self._kept_bytes + changed.nbytes <= KEPT_BYTES:
            self._kept[i] = changed
            self._kept_bytes += changed.nbytes
        return changed

    def stacked(self, indices: list[int]) -> Array | None:
        """None, as the file holds the original images."""
        return None


def _generator(spec: CorruptionSpec, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{spec.kind}/{spec.severity}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _bytes(values: Array) -> Array:
    """Convert shares of white to bytes, clipped at black and white."""
    whole: Array = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return whole


def _brighter(image: Array, added: float) -> Array:
    """Raise the value in HSV: all channels by one factor, or from black to grey."""
    value = image.max(-1, keepdims=True)
    raised = np.clip(value + added, 0, 1)
    return _bytes(np.where(value > 0, image * raised / np.where(value > 0, value, 1), raised))


def _stylised(image: Array, mixed: float, levels: int, edges: float) -> Array:
    """Rotate colours between channels, reduce them to a few flat tones, draw edges dark."""

    matrix = mixed * MIXED + (1 - mixed) * np.eye(3, dtype=np.float32)
    tones = np.rint((image @ matrix.T) * (levels - 1)) / (levels - 1)
    grey = np.pad(image.mean(-1), 1, mode="edge")
    across = np.hypot(grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1])
    return _bytes(tones * (1 - np.clip(edges * across, 0, 1))[..., None])
