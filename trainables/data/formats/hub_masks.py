"""Segmentation data of the hub or a local copy: a column of images and one of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.files.mask_code import MaskCode, mask_code
from trainables.data.files.mask_pixels import read_mask
from trainables.data.files.pixels import Photo, read_photo, turn_mask
from trainables.data.formats.hub_table import held_file, image_column, load_part, mask_column, row_keys
from trainables.data.masks import FALLING
from trainables.data.sample import Annotations, Array, DataPart, DataSource, Sample, Tally
from trainables.errors import DataError
from trainables.specs.data import HubData, MaskRules, Split


@dataclass(frozen=True, eq=False)
class HubMaskSample:
    """One row. image, drawing: its columns.  code: what the mask's values stand for."""

    name: str
    origin: str
    rows: Any
    row: int
    image: str
    drawing: str
    code: MaskCode
    tally: Tally
    bits: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """No file of its own: the row is in a table."""
        return ()

    def photo(self) -> Photo:
        """The image, upright."""
        return read_photo(held_file(self._held(self.image)), bits=self.bits)

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """No boxes."""
        return Annotations.none()

    def mask(self, photo: Photo | None = None) -> Array:
        """Class indices on the upright image; a mask of the stored pixels is turned with a photo.

        Raises ValueError for a value that has no class.
        """
        photo = photo or self.photo()
        found = read_mask(held_file(self._held(self.drawing)), values=self.code.shown, known=self.code.known)
        if found.falling:
            self.tally.add(FALLING, self.name)
        mask = self.code.classes(found)
        if mask.shape == photo.upright or mask.shape != photo.stored:
            return mask
        return turn_mask(mask, photo.orientation)

    def _held(self, column: str) -> Any:
        return self.rows.select_columns([column])[self.row][column]


def read_hub_masks(
    spec: HubData,
    named: Mapping[Split, str],
    classes: Sequence[str] | None,
    where: str = "data.hub",
    bits: int | None = None,
) -> DataSource:
    """The parts by their names in the data set.

    classes: the order to number the classes in; the data's own order when absent.
    Raises DataError for columns, classes or values that do not fit.
    """
    rules = hub_rules(spec)
    names = tuple(classes or rules.classes)
    code = mask_code(rules, names, "data.hub")
    parts = {}
    for split, part in named.items():
        table, at = load_part(spec, part), f"{spec.path} ({part})"
        image, drawing, tally = image_column(spec, table, at), mask_column(spec, table, at), Tally()
        if image == drawing:
            raise DataError(
                f"data.hub.image and data.hub.mask must be two columns of {at}, got {image} for both"
            )
        samples: list[Sample] = [
            HubMaskSample(name, origin, table, row, image, drawing, code, tally, bits)
            for name, origin, row in row_keys(table, part)
        ]
        if not samples:
            raise DataError(f"{where}: {spec.path} must hold images, but its part '{part}' is empty")
        parts[split] = DataPart(samples, tally=tally)
    return DataSource(names, parts, rules.background_class)


def hub_rules(spec: HubData) -> MaskRules:
    """What the values of masks stand for. Raises DataError if the data do not say it."""
    if spec.classes is None:
        raise DataError(
            "data.hub.classes must name the classes of the masks in the order of their values, such as "
            "[background, cell]; a hub data set does not name them itself"
        )
    return MaskRules(classes=spec.classes, values=spec.values, ignore=spec.ignore, background=spec.background)
