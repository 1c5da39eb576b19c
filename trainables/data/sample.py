"""The samples that every source yields, which load themselves, and how their files are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from trainables.errors import DataError
from trainables.specs.data import Split

if TYPE_CHECKING:
    from trainables.data.faults import Finding

Array = np.ndarray[Any, np.dtype[Any]]

ORIENTATION = 0x0112
"""The EXIF tag for the orientation of the camera."""


@dataclass(frozen=True)
class Annotations:
    """The boxes of one image.

    boxes: (n, 4) float64, absolute xywh in original pixels, NaN for unreadable values.
    labels: (n,) int64 class indices, -1 for an unknown category.  areas: (n,) float64, NaN where the
    data give none.  crowds: (n,) bool.
    """

    boxes: Array
    labels: Array
    areas: Array
    crowds: Array

    @classmethod
    def none(cls) -> Annotations:
        """No boxes."""
        return cls.of([], [], [], [])

    @classmethod
    def of(
        cls,
        boxes: Sequence[Sequence[float]],
        labels: Sequence[int],
        areas: Sequence[float],
        crowds: Sequence[bool],
    ) -> Annotations:
        """From plain lists; an area that is not a number above 0 counts as not given."""
        given = np.asarray(areas, np.float64).reshape(-1)
        return cls(
            boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
            labels=np.asarray(labels, np.int64).reshape(-1),
            areas=np.where(np.isfinite(given) & (given > 0), given, np.nan),
            crowds=np.asarray(crowds, bool).reshape(-1),
        )

    def rounded(self) -> Annotations:
        """The boxes in the values that single precision can hold."""
        return replace(self, boxes=self.boxes.astype(np.float32).astype(np.float64))

    def with_areas(self) -> Annotations:
        """Where the data give no area, the box's."""
        own = self.boxes[:, 2] * self.boxes[:, 3]
        return replace(self, areas=np.where(np.isnan(self.areas), own, self.areas))

    def only(self, keep: Array) -> Annotations:
        """The annotations that `keep`, (n,) bool or indices, selects."""
        return Annotations(self.boxes[keep], self.labels[keep], self.areas[keep], self.crowds[keep])


class Sample(Protocol):
    """One image with its annotations. The three methods may be called from any thread."""

    @property
    def name(self) -> str:
        """The image's name in lists of errors and splits."""
        ...

    @property
    def origin(self) -> str:
        """The file's path, or the row; it must not be in two splits."""
        ...

    def image(self) -> Image.Image:
        """The image in RGB. Raises FileNotFoundError, or any error of the decoder."""
        ...

    def annotations(self) -> Annotations:
        """The image's boxes; none for segmentation."""
        ...

    def mask(self) -> Array | None:
        """(height, width) uint8 class indices, 255 for ignored. Raises FileNotFoundError or ValueError."""
        ...


@dataclass(frozen=True)
class DataPart:
    """One part of a source, and the errors that belong to no sample."""

    samples: Sequence[Sample]
    faults: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class DataSource:
    """A source as read: class names in their order, and the parts that it provides."""

    classes: tuple[str, ...]
    parts: dict[Split, DataPart] = field(default_factory=dict)


def open_rgb(
    file: str | Path | IO[bytes], *, declared: tuple[int, int] | None = None, upright: bool = False
) -> Image.Image:
    """Decode an image to RGB.

    declared: the (height, width) that the annotations refer to.  A photo with an EXIF rotation is rotated
    only if that gives it the declared size, or always with `upright`: annotation tools differ.
    Raises ValueError for another size than declared, and whatever Pillow raises.
    """
    with Image.open(file) as picture:
        picture.load()
        sideways = picture.getexif().get(ORIENTATION, 1) >= 5
        size = (picture.height, picture.width)
        if upright or (declared is not None and size != declared and sideways):
            turned = ImageOps.exif_transpose(picture)
            size = (turned.height, turned.width)
        else:
            turned = picture
        if declared is not None and size != declared:
            raise ValueError(f"it is {size[1]}×{size[0]} pixels but annotated as {declared[1]}×{declared[0]}")
        return _rgb(turned)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow would clip 16-bit values at 255.
        high = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if picture.mode in {"I", "F"}:
        raise ValueError(f"pixels of mode '{picture.mode}' have no known range; store 8 or 16 bits")
    return picture.convert("RGB")


def need_folder(path: str, *, what: str) -> Path:
    """`path` as an existing folder."""
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{what} must be a folder, but there is none at {folder.absolute()}")
    return folder


def unknown_classes(where: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    """The message for classes that the model, or its training data, does not have."""
    has = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    names = " or ".join(f"'{name}'" for name in unknown[:5]) + (" …" if len(unknown) > 5 else "")
    return (
        f"{where}: the model has no class {names}; it has {has}; "
        "rename the class to one of these, or remove it"
    )


def identity_of(folder: Path) -> str:
    """A digest of all files below `folder`: names, sizes and modification times, not their content."""
    digest = hashlib.sha256()
    for entry in sorted(_files(folder), key=lambda e: e[0]):
        digest.update(repr(entry).encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        inside = os.path.relpath(root, folder)
        for name in names:
            try:
                stat = os.stat(os.path.join(root, name))
            except OSError:
                found.append((os.path.join(inside, name), -1, -1))
            else:
                found.append((os.path.join(inside, name), stat.st_size, stat.st_mtime_ns))
    return found
