"""Data of the Hugging Face hub or a local copy: boxes in the form of `detection-datasets/coco`, or masks.

For detection rows have an image, image_id and objects {bbox, category, area}; for segmentation an image and a
mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from trainables.data.files.coco_fields import flag, number
from trainables.data.files.pixels import Photo, read_photo
from trainables.data.formats.hub_form import found_form
from trainables.data.formats.hub_table import (
    category_names,
    category_of,
    columns_of,
    fields_of,
    held_file,
    image_column,
    load_part,
    row_keys,
)
from trainables.data.sample import (
    Annotations,
    DataPart,
    DataSource,
    Sample,
    check_names_alike,
    identity_of,
    unknown_classes,
)
from trainables.errors import DataError
from trainables.specs.data import HubBoxes, HubData, Split


@dataclass(frozen=True, eq=False)
class HubSample:
    """One row. labels: the class index of each category value.  boxes: their form.  image: its column."""

    name: str
    origin: str
    rows: Any
    row: int
    labels: dict[Any, int]
    bits: int | None = None
    boxes: HubBoxes = HubBoxes.XYXY
    image: str = "image"

    @property
    def files(self) -> tuple[Path, ...]:
        """No file of its own: the row is in a table."""
        return ()

    def photo(self) -> Photo:
        """The image, upright, as `datasets` decodes it."""
        held = self.rows.select_columns([self.image])[self.row][self.image]
        return read_photo(held_file(held), bits=self.bits)

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """The image's boxes as xywh."""
        objects = columns_of(self.rows.select_columns(["objects"])[self.row]["objects"])
        given = [_four(box) for box in objects["bbox"]]
        count, corners = len(given), self.boxes is HubBoxes.XYXY
        return Annotations.of(
            [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in given] if corners else given,
            [self.labels.get(value, -1) for value in objects["category"]],
            [number(a) for a in objects.get("area", [math.nan] * count)],
            [flag(c, f"{self.name}: objects.iscrowd") for c in objects.get("iscrowd", [False] * count)],
            corners=corners,
        )

    def mask(self, photo: Photo | None = None) -> None:
        """No mask."""


def hub_parts(spec: HubData) -> dict[Split, str]:
    """The names of the parts that the spec gives."""
    return {split: part for split in Split if (part := getattr(spec, split)) is not None}


def read_hub_parts(
    spec: HubData,
    named: Mapping[Split, str],
    classes: Sequence[str] | None = None,
    where: str = "data.hub",
    bits: int | None = None,
) -> DataSource:
    """The parts of `spec`'s data set by their names in it. Raises DataError if they are not in this format.

    classes: used instead of the data's own; every box must then have one of them.
    where: the key that names the parts.
    """
    tables = {split: load_part(spec, part) for split, part in named.items()}
    images = {
        split: _check_form(spec, table, f"{spec.path} ({named[split]})") for split, table in tables.items()
    }
    if classes is None:
        found = dict.fromkeys(name for table in tables.values() for name in category_names(table, spec.path))
        classes = tuple(found)
        check_names_alike([(f"{where}.{s}", category_names(table, spec.path)) for s, table in tables.items()])
    else:
        for table in tables.values():
            _only_of(classes, table, spec.path, where)
    form = spec.boxes or _found(spec, named, tables)
    parts = {
        split: _part(table, classes, named[split], spec.path, bits, form, images[split])
        for split, table in tables.items()
    }
    corners = form is HubBoxes.XYXY
    return DataSource(tuple(classes), parts, corners=corners, declared_by="data.hub.boxes")


def _found(spec: HubData, named: Mapping[Split, str], tables: Mapping[Split, Any]) -> HubBoxes:
    """The form of the whole data set: also for a domain, of which its own boxes may say nothing."""
    held = {named[split]: table for split, table in tables.items()}
    if spec.train not in held:
        held[spec.train] = load_part(spec, spec.train)
    columns = {part: _check_form(spec, table, f"{spec.path} ({part})") for part, table in held.items()}
    return found_form([(table, columns[part]) for part, table in held.items()], f"data.hub ({spec.path})")


def _only_of(classes: Sequence[str], table: Any, path: str, where: str) -> None:
    """Refuse boxes of other classes; the data may declare other labels without boxes."""
    names = category_names(table, path)
    if not (strange := set(names) - set(classes)):
        return
    feature = category_of(table)
    rows = (columns_of(row["objects"])["category"] for row in table.select_columns(["objects"]))
    used = {value for row in rows for value in row if value is not None}
    if hasattr(feature, "names"):
        used = {names[value] for value in used if 0 <= value < len(names)}
    if unknown := [name for name in names if name in strange & used]:
        raise DataError(unknown_classes(where, unknown, classes))


def hub_identity(spec: HubData) -> JsonValue:
    """The files of a local copy; for the hub, the cached files of the loaded revision."""
    local, settings = Path(spec.path), hub_settings(spec)
    if local.is_dir():
        return {"spec": {k: v for k, v in settings.items() if k != "path"}, "files": identity_of(local)}
    files: list[JsonValue] = []
    for part in (spec.train, spec.validation, spec.test):
        if part is None:
            continue
        table = load_part(spec, part)
        cached = [Path(f["filename"]) for f in table.cache_files]
        # The name of the folder is the revision's commit.
        names: list[JsonValue] = ["/".join(path.parts[-2:]) for path in cached]
        files.append([table.num_rows, names])
    return {"spec": settings, "files": files}


def hub_settings(spec: HubData) -> dict[str, JsonValue]:
    """The settings of a hub data set for a fingerprint, which is as before where new ones change nothing."""
    before = ("path", "name", "revision", "train", "validation", "test")
    settings: dict[str, JsonValue] = spec.model_dump(mode="json", include=set(before))
    new = spec.model_dump(mode="json", exclude={*before, "boxes"}, exclude_defaults=True)
    # Corners are what all boxes were before; what is found may be another form with another version.
    form = {} if spec.boxes is HubBoxes.XYXY or spec.classes is not None else {"boxes": spec.boxes or "found"}
    return settings | new | form


def _check_form(spec: HubData, table: Any, where: str) -> str:
    """The column of images. Raises DataError for a table that does not hold images and objects."""
    if "objects" not in table.features:
        raise DataError(
            f"{where} must have columns image and objects, like detection-datasets/coco; "
            f"got {', '.join(table.features)}"
        )
    column = image_column(spec, table, where)
    inside = fields_of(table.features["objects"])
    if [c for c in ("bbox", "category") if c not in inside]:
        raise DataError(f"{where}: objects must have bbox and category; got {', '.join(inside) or 'none'}")
    return column


def _part(
    table: Any,
    classes: Sequence[str],
    part: str,
    where: str,
    bits: int | None,
    form: HubBoxes,
    image: str,
) -> DataPart:
    place = {name: i for i, name in enumerate(classes)}
    feature = category_of(table)
    if hasattr(feature, "names"):
        labels: dict[Any, int] = {i: place[name] for i, name in enumerate(feature.names) if name in place}
    else:
        labels = dict(place)
    samples: list[Sample] = [
        HubSample(name, origin, table, row, labels, bits, form, image)
        for name, origin, row in row_keys(table, part)
    ]
    if not samples:
        raise DataError(f"{where} must hold images, but its part '{part}' is empty")
    return DataPart(samples)


def _four(box: Any) -> list[float]:
    if box is None or len(box) != 4 or any(v is None for v in box):
        return [math.nan] * 4
    return [float(v) for v in np.asarray(box, np.float64)]
