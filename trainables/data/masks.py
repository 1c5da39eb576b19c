"""Segmentation data in folders of images and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from trainables.data.faults import Action, Fault, Finding
from trainables.data.files.drawn import ASSUMED, Custom, Drawn, Probe, by_size
from trainables.data.files.file_names import file_identity, lost_links
from trainables.data.files.mask_code import MaskCode, mask_code
from trainables.data.files.mask_pairs import find_pairs
from trainables.data.files.mask_pixels import TRANSPARENT, MaskFile, read_mask
from trainables.data.files.pixels import Photo, read_photo, read_size, stored_size, turn_mask
from trainables.data.sample import (
    Annotations,
    Array,
    DataPart,
    DataSource,
    Sample,
    Tally,
    identity_of,
    need_folder,
)
from trainables.specs.data import MaskData, MaskPart, Split
from trainables.wording import few

BACK = {6: 8, 8: 6}
"""The orientation that undoes another; the others undo themselves."""
FALLING = "falling palette"
"""What is noticed of a mask: see `MaskFile.falling`."""
UNPAINTED = "transparent parts of the mask, where nothing was painted, count as background"
"""What is noticed of a mask with such parts."""


@dataclass(frozen=True, eq=False)
class MaskSample:
    """An image and its mask. code: what the mask's values stand for."""

    name: str
    picture: Path
    drawing: Path | None
    code: MaskCode
    custom: Custom
    tally: Tally
    bits: int | None = None
    hint: str = ""

    @cached_property
    def origin(self) -> str:
        """The image file, however it is spelled."""
        return file_identity(self.picture)

    @property
    def files(self) -> tuple[Path, ...]:
        """The image file, and that of its mask if there is one."""
        return (self.picture,) if self.drawing is None else (self.picture, self.drawing)

    def photo(self) -> Photo:
        """The image, upright."""
        return read_photo(self.picture, bits=self.bits)

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """No boxes."""
        return Annotations.none()

    def mask(self, photo: Photo | None = None) -> Array:
        """Class indices on the upright image.

        Raises ValueError for a value that has no class, or if it cannot be told which way round it was drawn.
        """
        if self.drawing is None:
            raise FileNotFoundError(self._absent())
        photo = photo or self.photo()
        found = read_mask(self.drawing, values=self.code.shown, known=self.code.known)
        if found.falling:
            self.tally.add(FALLING, self.name)
        if (found.values == TRANSPARENT).any():
            self.tally.add(UNPAINTED, self.name)
        return self.code.classes(replace(found, values=self._upright(photo, found)))

    def probe(self) -> Drawn | None:
        """Which way round the mask was drawn, if the sizes of this pair say so."""
        try:
            orientation, upright = read_size(self.picture)
            turned, size = read_size(self.drawing or "")
            if orientation == 1 or turned != 1:
                return None
            return by_size(size, upright, stored_size(upright, orientation))
        except Exception:  # any error of the decoder; it is reported where the pair is read
            return None

    def _upright(self, photo: Photo, found: MaskFile) -> Array:
        """The mask's values, the same way round as the upright photo."""
        size, values = (found.values.shape[0], found.values.shape[1]), found.values
        if found.orientation != 1:
            # The tag may have been copied from the photo to a mask that was drawn upright.
            if size == photo.upright or found.stored != photo.upright:
                if size == photo.upright == found.stored:
                    self.tally.add(ASSUMED, self.name)
                return values
            return turn_mask(values, BACK.get(found.orientation, found.orientation))
        if photo.orientation == 1 or size not in (photo.upright, photo.stored):
            return values
        own = by_size(size, photo.upright, photo.stored)
        drawn = self.custom.settle(own)
        if own is None and self.custom.assumed:
            self.tally.add(ASSUMED, self.name)
        return values if drawn is Drawn.UPRIGHT else turn_mask(values, photo.orientation)

    def _absent(self) -> str:
        return f"no mask has the name of {self.name}" + (f"; {self.hint}" if self.hint else "")


Given = Mapping[Split, tuple[str, MaskPart]]
"""The parts to read, each with its key in the experiment file."""


def read_masks(spec: MaskData, classes: Sequence[str] | None = None, bits: int | None = None) -> DataSource:
    """Read the given parts. Raises DataError for wrong classes, values or folders.

    classes: the order to number the classes in; the data's own order when absent.
    bits: those that deep images use.
    """
    parts = {split: part for split in Split if (part := getattr(spec, split)) is not None}
    given = {split: (f"data.masks.{split}", part) for split, part in parts.items()}
    names = tuple(classes or spec.classes)
    return DataSource(names, read_mask_parts(given, spec, names, bits), spec.background_class)


def read_mask_parts(
    given: Given, spec: MaskData, classes: Sequence[str], bits: int | None = None
) -> dict[Split, DataPart]:
    """Parts with the classes and values of `spec`, numbered as in `classes`. Raises DataError."""
    code = mask_code(spec, classes)
    return {
        split: _read_part(part, code, spec.suffix, split, where, bits)
        for split, (where, part) in given.items()
    }


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


def _read_part(
    part: MaskPart, code: MaskCode, suffix: str | None, split: Split, where: str, bits: int | None
) -> DataPart:
    found = find_pairs(part, suffix, where)
    probes: list[Probe] = []
    custom, tally = Custom(probes), Tally()
    samples: list[Sample] = []
    for pair in found.pairs:
        sample = MaskSample(pair.name, pair.image, pair.mask, code, custom, tally, bits, found.hint)
        samples.append(sample)
        probes.append(sample.probe)
    ending = f"; {found.hint}" if found.hint else ""
    faults = (
        Finding(
            split, name, Fault.MISSING_FILE, Action.IGNORED, f"no image has the name of this mask{ending}"
        )
        for name in found.alone
    )
    folders = dict.fromkeys(Path(folder) for folder in (part.images, part.masks))
    remarks = tuple(f"{where}: {lost}" for folder in folders if (lost := lost_links(folder)))
    if found.doubled:
        doubled = few([f"{name} is {first}" for name, first in found.doubled])
        remarks += (
            f"{where}: {len(found.doubled)} of the images are links to others and count once ({doubled})",
        )
    return DataPart(samples, tuple(faults), remarks, tally)
