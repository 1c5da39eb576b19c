"""Segmentation data in folders of images and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import JsonValue

from trainables.data.faults import Action, Fault, Finding
from trainables.data.prepared import IGNORE
from trainables.data.sample import (
    Annotations,
    Array,
    DataPart,
    DataSource,
    Sample,
    identity_of,
    need_folder,
    open_rgb,
    unknown_classes,
)
from trainables.errors import DataError
from trainables.specs.data import MaskData, MaskPart, Split

VALUES = 2**16
"""The number of possible mask values: they have 8 or 16 bits."""


@dataclass(frozen=True)
class MaskSample:
    """An image and its mask. table: the class index of each mask value, -1 for no class."""

    name: str
    picture: Path
    drawing: Path | None
    table: Array
    binary_as_grey: bool

    @cached_property
    def origin(self) -> str:
        """The image's path."""
        return str(self.picture.resolve())

    def image(self) -> Image.Image:
        """The image, in the orientation of its mask."""
        return open_rgb(self.picture, declared=self._turned())

    def annotations(self) -> Annotations:
        """No boxes."""
        return Annotations.none()

    def mask(self) -> Array:
        """Class indices. Raises ValueError for a value that has no class."""
        if self.drawing is None:
            raise FileNotFoundError(f"no mask has the name {self.name}")
        with Image.open(self.drawing) as drawing:
            raw = np.asarray(drawing.convert("L") if drawing.mode == "1" and self.binary_as_grey else drawing)
        return _classes(_one_channel(raw), self.table)

    def _turned(self) -> tuple[int, int] | None:
        """The mask's size if it is the image's size rotated by 90°, which an EXIF tag may mean."""
        try:
            with Image.open(self.picture) as picture, Image.open(self.drawing or "") as drawing:
                ours, theirs = (picture.height, picture.width), (drawing.height, drawing.width)
        except (OSError, SyntaxError, ValueError):
            return None
        return theirs if theirs == ours[::-1] and theirs != ours else None


Given = Mapping[Split, tuple[str, MaskPart]]
"""The parts to read, each with its key in the experiment file."""


def read_masks(spec: MaskData, classes: Sequence[str] | None = None) -> DataSource:
    """Read the given parts. Raises DataError for wrong classes, values or folders.

    classes: the order to number the classes in; the data's own order when absent.
    """
    parts = {split: part for split in Split if (part := getattr(spec, split)) is not None}
    given = {split: (f"data.masks.{split}", part) for split, part in parts.items()}
    return DataSource(tuple(classes or spec.classes), read_mask_parts(given, spec, classes or spec.classes))


def read_mask_parts(given: Given, spec: MaskData, classes: Sequence[str]) -> dict[Split, DataPart]:
    """Parts with the classes and values of `spec`, numbered as in `classes`. Raises DataError."""
    table = _table(spec, classes)
    return {split: _read_part(part, spec, table, split, where) for split, (where, part) in given.items()}


def masks_identity(spec: MaskData) -> JsonValue:
    """Classes and values, and the files of all folders."""
    given = [part for part in (spec.train, spec.validation, spec.test) if part is not None]
    return {
        "classes": list(spec.classes),
        "values": list(spec.values) if spec.values is not None else None,
        "ignore": spec.ignore,
        "given": [part is not None for part in (spec.train, spec.validation, spec.test)],
        "files": [mask_files(part) for part in given],
    }


def mask_files(part: MaskPart, where: str = "") -> JsonValue:
    """Digests of the files of both folders. Raises DataError if a folder does not exist."""
    prefix = f"{where}." if where else ""
    return [
        identity_of(need_folder(part.images, what=f"{prefix}images")),
        identity_of(need_folder(part.masks, what=f"{prefix}masks")),
    ]


def _read_part(part: MaskPart, spec: MaskData, table: Array, split: Split, where: str) -> DataPart:
    pictures = _by_stem(need_folder(part.images, what=f"{where}.images"))
    drawings = _by_stem(need_folder(part.masks, what=f"{where}.masks"))
    samples: list[Sample] = [
        MaskSample(
            name=path.relative_to(part.images).as_posix(),
            picture=path,
            drawing=drawings.get(stem),
            table=table,
            binary_as_grey=spec.values is not None,
        )
        for stem, path in sorted(pictures.items())
    ]
    if not samples:
        raise DataError(f"{where}.images must be a folder with images, but {part.images} has none")
    alone = [
        drawings[stem].relative_to(part.masks).as_posix() for stem in sorted(set(drawings) - set(pictures))
    ]
    faults = (
        Finding(split, name, Fault.MISSING_FILE, Action.IGNORED, "no image has the name of this mask")
        for name in alone
    )
    return DataPart(samples, tuple(faults))


def _by_stem(folder: Path) -> dict[str, Path]:
    """The image files below `folder`, by their path without suffix."""
    known = Image.registered_extensions()
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.suffix.lower() not in known or not path.is_file():
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError(
                f"image and mask have the same file name, so names must differ by more than the suffix; "
                f"{found[stem]} and {path} do not"
            )
        found[stem] = path
    return found


def _table(spec: MaskData, classes: Sequence[str]) -> Array:
    """(65536,) int16: the class index of each mask value, 255 for ignored, -1 for no class."""
    if unknown := [name for name in spec.classes if name not in classes]:
        raise DataError(unknown_classes("data.masks.classes", unknown, classes))
    if len(spec.classes) > IGNORE:
        raise DataError(f"data.masks.classes must name at most {IGNORE} classes, got {len(spec.classes)}")
    values = spec.values if spec.values is not None else tuple(range(len(spec.classes)))
    if len(values) != len(spec.classes) or len(set(values)) != len(values):
        raise DataError(
            f"data.masks.values must hold one value for each of the {len(spec.classes)} classes, "
            f"all different, got {list(values)}"
        )
    outside = [v for v in (*values, *([] if spec.ignore is None else [spec.ignore])) if not 0 <= v < VALUES]
    if outside:
        raise DataError(f"mask values must be in 0 to {VALUES - 1}, got {outside}")
    if spec.ignore in values:
        raise DataError(f"data.masks.ignore must not be the value of a class, got {spec.ignore}")
    table = np.full(VALUES, -1, np.int16)
    table[list(values)] = [classes.index(name) for name in spec.classes]
    if spec.ignore is not None:
        table[spec.ignore] = IGNORE
    return table


def _one_channel(raw: Array) -> Array:
    if raw.ndim == 2:
        return raw
    colours = raw[..., : 3 if raw.shape[-1] >= 3 else 1]
    if (colours != colours[..., :1]).any():
        raise ValueError("it is a colour image; a mask has one value per pixel")
    return colours[..., 0]


def _classes(raw: Array, table: Array) -> Array:
    if raw.dtype.kind not in "bui" or (raw.size and (raw.min() < 0 or raw.max() >= VALUES)):
        raise ValueError(f"its values must be whole numbers in 0 to {VALUES - 1}")
    classes = table[raw.astype(np.uint16)]
    if (classes < 0).any():
        strange = np.unique(raw[classes < 0])
        shown = ", ".join(str(int(v)) for v in strange[:8])
        raise ValueError(f"values without a class: {shown}{' …' if len(strange) > 8 else ''}")
    return classes.astype(np.uint8)
