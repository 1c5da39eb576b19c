"""The size that an image is resized to: the rule of a checkpoint's processor, as a value."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from trainables.specs.base import Count, Spec


class Interpolation(StrEnum):
    """How a new pixel is computed from those of an image, by Pillow's names.

    All but `nearest` and `bilinear_points` use all pixels that fall into the new one when an image is made
    smaller. `bilinear_points` uses the four next to its centre, as RF-DETR's processor does.
    """

    NEAREST = "nearest"
    BOX = "box"
    BILINEAR = "bilinear"
    BILINEAR_POINTS = "bilinear_points"
    HAMMING = "hamming"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class Resize(Spec):
    """The resize rule: a fixed `height` and `width`, or a `shortest_edge` with an optional `longest_edge`.

    multiple_of: both sides of the second form are rounded down to a multiple of it; YOLOS
    processors use 16, DETR's use 1.  interpolation: of the image; masks keep their values.
    """

    height: Count | None = None
    width: Count | None = None
    shortest_edge: Count | None = None
    longest_edge: Count | None = None
    multiple_of: Count = 1
    interpolation: Interpolation = Interpolation.BILINEAR

    @model_serializer(mode="wrap")
    def _as_before(self, made: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fingerprints of prepared data do not change for a rule that there always was."""
        found: dict[str, Any] = made(self)
        if self.interpolation is Interpolation.BILINEAR:
            found.pop("interpolation", None)
        return found

    def by(self, interpolation: Interpolation) -> Self:
        """The same sizes with another interpolation."""
        return self.model_copy(update={"interpolation": interpolation})

    def defined(self, pixels: int) -> Self:
        """The rule under a definition of pixels: the first was bilinear for all models; see `Definitions`."""
        return self.by(Interpolation.BILINEAR) if pixels == 1 else self

    @classmethod
    def fixed(cls, height: int, width: int) -> Resize:
        """Resize every image to (height, width), whatever its shape."""
        return cls(height=height, width=width)

    @classmethod
    def edges(cls, shortest: int, longest: int | None = None, *, multiple_of: int = 1) -> Resize:
        """Keep the aspect ratio: the shortest edge becomes `shortest`, or less if `longest` limits it."""
        return cls(shortest_edge=shortest, longest_edge=longest, multiple_of=multiple_of)

    @property
    def is_fixed(self) -> bool:
        """Whether all images are resized to one size."""
        return self.height is not None

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing an image of `height` by `width` pixels.

        The arithmetic and its rounding are those of `get_size_with_aspect_ratio` in transformers
        (DETR) and of its YOLOS counterpart, so that a checkpoint gets the sizes it was trained on.
        """
        if self.height is not None and self.width is not None:
            return self.height, self.width
        assert self.shortest_edge is not None
        short: int | float = self.shortest_edge
        low, high = min(height, width), max(height, width)
        edge, capped = self.shortest_edge, False
        if self.longest_edge is not None and high / low * self.shortest_edge > self.longest_edge:
            short, capped = self.longest_edge * low / high, True
            edge = round(short)
        # YOLOS rounds even if a portrait's edge has the right size already.
        if low == edge and not (self.multiple_of > 1 and width < height):
            out = (height, width)
        elif width < height:
            out = (int((short if capped else edge) * height / width), edge)
        else:
            out = (edge, int((short if capped else edge) * width / height))
        step = self.multiple_of
        return max(step, out[0] - out[0] % step), max(step, out[1] - out[1] % step)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        fixed = self.height is not None and self.width is not None
        partly = (self.height is None) != (self.width is None)
        edges = self.shortest_edge is not None
        if partly or fixed == edges or (self.longest_edge is not None and not edges):
            raise ValueError("give height and width, or shortest_edge with an optional longest_edge")
        return self


def nearest_multiples(sides: tuple[int, int], steps: tuple[int, int]) -> list[int]:
    """The multiples of `steps` nearest to `sides`, at least one step each; `sides` if they are multiples."""
    return [max(1, round(side / step)) * step for side, step in zip(sides, steps, strict=True)]
