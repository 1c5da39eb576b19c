"""Semantic masks drawn from the outlines of objects: polygons, and masks in run-length encoding.

A polygon covers the pixels that pycocotools says (`frPyObjects`), which hotcoco computes alike. Objects are
drawn in their order, later ones over earlier ones, and groups (crowds) before all others, since they are
outlined coarsely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trainables.data.files.pixels import Array
from trainables.specs.data import BACKGROUND, background_among

FAR = 100
"""How many sides of the image a polygon may reach."""


@dataclass(frozen=True, eq=False)
class Outline:
    """What one object covers: all of its polygons and masks together.

    polygons: each (k, 2) corners in pixels.  canvas: the (height, width) of the masks, None without any.
    runs: each the lengths down the columns, first of pixels that are not in the mask.
    """

    polygons: tuple[Array, ...] = ()
    runs: tuple[Array, ...] = ()
    canvas: tuple[int, int] | None = None

    @classmethod
    def of_pixels(cls, mask: Array) -> Outline:
        """Of a (height, width) bool mask."""
        down = np.concatenate([[False], mask.T.ravel(), [False]])
        ends = np.flatnonzero(down[1:] != down[:-1])
        runs = np.diff(np.concatenate([[0], ends, [mask.size]]))
        return cls(runs=(runs,), canvas=(mask.shape[0], mask.shape[1]))

    @classmethod
    def together(cls, outlines: Sequence[Outline]) -> Outline:
        """All of them as one; masks must have one size."""
        canvas = next((each.canvas for each in outlines if each.canvas is not None), None)
        polygons = tuple(polygon for each in outlines for polygon in each.polygons)
        return cls(polygons, tuple(runs for each in outlines for runs in each.runs), canvas)

    @cached_property
    def digest(self) -> str:
        """Equal for equal outlines."""
        parts = [np.ascontiguousarray(part).tobytes() for part in self.polygons]
        parts += [runs.tobytes() for runs in self.runs]
        return hashlib.blake2b(b"|".join(parts) + repr(self.canvas).encode(), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        return f"Outline({self.digest})"

    def pixels(self, size: tuple[int, int]) -> Array:
        """(height, width) bool: the pixels that it covers in an image of `size`.

        Raises ValueError if its mask is of another size.
        """
        height, width = size
        if self.canvas is not None and self.canvas != size:
            raise ValueError(f"a mask of {self.canvas} in an image of {size}, as (height, width)")
        found = np.zeros(size, bool)
        for runs in self.runs:
            found |= np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        if not self.polygons:
            return found
        # An edge is walked pixel by pixel, also outside the image.
        farthest = FAR * max(size)
        if any(np.abs(polygon).max() > farthest for polygon in self.polygons):
            raise ValueError(f"a polygon lies more than {FAR} times the image's side outside of it")
        from hotcoco import mask as coco_mask

        for polygon in self.polygons:
            for drawn in coco_mask.frPyObjects([polygon.ravel().tolist()], height, width):
                found |= np.asarray(coco_mask.decode(drawn)).astype(bool)
        return found


@dataclass(frozen=True, eq=False)
class Shape:
    """An object of a class index with its outline. crowd: whether it is a group."""

    label: int
    outline: Outline
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class Drawing:
    """The objects of one image, whose mask can be drawn. background: that of pixels which no object covers.

    problem: why it cannot be drawn; '' if it can.
    """

    shapes: tuple[Shape, ...]
    background: int
    problem: str = ""

    @property
    def canvases(self) -> frozenset[tuple[int, int]]:
        """The (height, width) of the masks in run-length encoding."""
        return frozenset(shape.outline.canvas for shape in self.shapes if shape.outline.canvas is not None)

    def mask(self, size: tuple[int, int]) -> Array:
        """(height, width) uint8 class indices. Raises ValueError if it cannot be drawn."""
        if self.problem:
            raise ValueError(self.problem)
        return draw_mask(self.shapes, size, self.background)


def draw_mask(shapes: Sequence[Shape], size: tuple[int, int], background: int) -> Array:
    """(height, width) uint8 class indices. background: that of pixels which no object covers."""
    mask = np.full(size, background, np.uint8)
    for shape in sorted(shapes, key=lambda shape: not shape.crowd):
        mask[shape.outline.pixels(size)] = shape.label
    return mask


def with_background(names: Sequence[str]) -> tuple[str, ...]:
    """The classes of masks that are drawn from objects of these classes: the background first.

    It is the one of them that is called so, or else one more.
    """
    first = background_among(names) or BACKGROUND
    return (first, *(name for name in names if name != first))
