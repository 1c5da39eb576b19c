"""Detection data from the Hugging Face hub or a local copy, in the format of `detection-datasets/coco`.

Rows have image, image_id and objects {bbox, category, area}; boxes are [x0, y0, x1, y1].
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import JsonValue

from trainables.data.content.digests import digest_folder, digest_of
from trainables.data.files.coco_fields import flag, number
from trainables.data.files.pixels import Photo, read_photo
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
from trainables.specs.data import HubData, Split


@dataclass(frozen=True, eq=False)
class HubSample:
    """One row. labels: the class index of each category value."""

    name: str
    origin: str
    rows: Any
    row: int
    labels: dict[Any, int]
    bits: int | None = None

    def photo(self) -> Photo:
        """The image, upright, as `datasets` decodes it."""
        held = self.rows.select_columns(["image"])[self.row]["image"]
        if held is None or (held["bytes"] is None and not held["path"]):
            raise FileNotFoundError("the row holds no image")
        if held["bytes"] is not None:
            return read_photo(io.BytesIO(held["bytes"]), bits=self.bits)
        if "://" not in held["path"]:
            return read_photo(held["path"], bits=self.bits)
        return read_photo(_fetched(held["path"]), bits=self.bits)

    def annotations(self, photo: Photo | None = None) -> Annotations:
        """The image's boxes, converted from corners to xywh."""
        objects = _columns(self.rows.select_columns(["objects"])[self.row]["objects"])
        corners = [_corners(box) for box in objects["bbox"]]
        count = len(corners)
        return Annotations.of(
            [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in corners],
            [self.labels.get(value, -1) for value in objects["category"]],
            [number(a) for a in objects.get("area", [math.nan] * count)],
            [flag(c, f"{self.name}: objects.iscrowd") for c in objects.get("iscrowd", [False] * count)],
            corners=True,
        )

    def mask(self, photo: Photo | None = None) -> None:
        """No mask."""


def _fetched(path: str) -> IO[bytes]:
    """A file that the data set only links to."""
    from datasets.download.streaming_download_manager import xopen

    with xopen(path, "rb") as file:
        return io.BytesIO(file.read())


def read_hub(spec: HubData, classes: Sequence[str] | None = None, bits: int | None = None) -> DataSource:
    """Load the named parts. Raises DataError if that fails or the format is wrong.

    classes: used instead of the data's own; every box must then have one of them.
    """
    named = {s: part for s in Split if (part := getattr(spec, s)) is not None}
    return read_hub_parts(spec, named, classes, bits=bits)


def read_hub_parts(
    spec: HubData,
    named: Mapping[Split, str],
    classes: Sequence[str] | None = None,
    where: str = "data.hub",
    bits: int | None = None,
) -> DataSource:
    """The parts of `spec`'s data set by their names in it. where: the key that names them."""
    tables = {split: _load(spec, part) for split, part in named.items()}
    for split, table in tables.items():
        _check_form(table, f"{spec.path} ({named[split]})")
    if classes is None:
        found = dict.fromkeys(name for table in tables.values() for name in _names(table, spec.path))
        classes = tuple(found)
        check_names_alike([(f"{where}.{s}", _names(table, spec.path)) for s, table in tables.items()])
    else:
        for table in tables.values():
            _only_of(classes, table, spec.path, where)
    parts = {split: _part(table, classes, named[split], spec.path, bits) for split, table in tables.items()}
    return DataSource(tuple(classes), parts, corners=True)


def _only_of(classes: Sequence[str], table: Any, path: str, where: str) -> None:
    """Refuse boxes of other classes; the data may declare other labels without boxes."""
    names = _names(table, path)
    if not (strange := set(names) - set(classes)):
        return
    feature = _category(table)
    rows = (_columns(row["objects"])["category"] for row in table.select_columns(["objects"]))
    used = {value for row in rows for value in row if value is not None}
    if hasattr(feature, "names"):
        used = {names[value] for value in used if 0 <= value < len(names)}
    if unknown := [name for name in names if name in strange & used]:
        raise DataError(unknown_classes(where, unknown, classes))


def hub_identity(spec: HubData) -> JsonValue:
    """The files of a local copy; for the hub, the cached files of the loaded revision."""
    local = Path(spec.path)
    if local.is_dir():
        return {"spec": spec.model_dump(mode="json", exclude={"path"}), "files": identity_of(local)}
    files: list[JsonValue] = []
    for part in (spec.train, spec.validation, spec.test):
        if part is None:
            continue
        table = _load(spec, part)
        cached = [Path(f["filename"]) for f in table.cache_files]
        # The name of the folder is the revision's commit.
        names: list[JsonValue] = ["/".join(path.parts[-2:]) for path in cached]
        files.append([table.num_rows, names])
    return {"spec": spec.model_dump(mode="json"), "files": files}


def _load(spec: HubData, part: str) -> Any:
    import datasets

    path = Path(spec.path)
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = _saved(datasets.load_from_disk(str(path)), part)
        else:
            of = {"revision": spec.revision, "split": part} | _cache_by_content(path)
            loaded = datasets.load_dataset(spec.path, spec.name, **of)
    except DataError:
        raise
    # `datasets` raises the errors of its many readers, which have no common base class.
    except Exception as error:
        raise DataError(
            f"data.hub must be loadable by `datasets`, but part '{part}' of {spec.path} is not: "
            f"{type(error).__name__}: {error}"
        ) from error
    if "image" in loaded.features and isinstance(loaded.features["image"], datasets.Image):
        loaded = loaded.cast_column("image", datasets.Image(decode=False))
    return loaded.with_format(None)


def _cache_by_content(folder: Path) -> dict[str, str]:
    """Where `datasets` keeps its tables of a local copy: it tells files apart by path and time alone, so a
    mended file with the time of the old one would give the old rows.
    """
    import datasets

    if not folder.is_dir():
        return {}
    digest = digest_of(digest_folder(folder))
    return {"cache_dir": str(Path(datasets.config.HF_DATASETS_CACHE) / "adaptertune" / digest)}


def _saved(held: Any, part: str) -> Any:
    """A part of a data set written by `save_to_disk`: `train`, or `train[:100]`."""
    match = re.fullmatch(r"([^\[\]]+)(?:\[(\d*):(\d*)\])?", part)
    if match is None:
        raise DataError(f"a part of a saved data set must look like 'train' or 'train[0:100]', got '{part}'")
    name, first, last = match.groups()
    if hasattr(held, "keys"):
        if name not in held:
            raise DataError(f"data.hub has no part '{name}'; it has {', '.join(held.keys())}")
        held = held[name]
    if first is None:
        return held
    return held.select(range(int(first or 0), min(int(last or len(held)), len(held))))


def _check_form(table: Any, where: str) -> None:
    import datasets

    features = table.features
    absent = [c for c in ("image", "objects") if c not in features]
    if absent:
        raise DataError(
            f"{where} must have columns image and objects, like detection-datasets/coco; "
            f"got {', '.join(features)}"
        )
    if not isinstance(features["image"], datasets.Image):
        raise DataError(f"{where}: column image must be of feature Image, got {features['image']}")
    inside = _fields(features["objects"])
    absent = [c for c in ("bbox", "category") if c not in inside]
    if absent:
        raise DataError(f"{where}: objects must have bbox and category; got {', '.join(inside) or 'none'}")


def _fields(objects: Any) -> dict[str, Any]:
    """The features inside `objects`, which is a dict of lists or a list of dicts."""
    inner = getattr(objects, "feature", objects)
    return dict(inner) if isinstance(inner, dict) else {}


def _category(table: Any) -> Any:
    feature = _fields(table.features["objects"])["category"]
    return getattr(feature, "feature", feature)


def _names(table: Any, where: str) -> list[str]:
    feature = _category(table)
    if hasattr(feature, "names"):
        return list(feature.names)
    if getattr(feature, "dtype", None) == "string":
        rows = (_columns(row["objects"])["category"] for row in table.select_columns(["objects"]))
        return sorted({name for row in rows for name in row if name is not None})
    raise DataError(
        f"{where}: objects.category must be a ClassLabel or a name, so that classes have names; got {feature}"
    )


def _part(table: Any, classes: Sequence[str], part: str, where: str, bits: int | None) -> DataPart:
    place = {name: i for i, name in enumerate(classes)}
    feature = _category(table)
    if hasattr(feature, "names"):
        labels: dict[Any, int] = {i: place[name] for i, name in enumerate(feature.names) if name in place}
    else:
        labels = dict(place)
    if "image_id" in table.features:
        ids = list(table["image_id"])
        origins = [f"{part.split('[')[0]}/{key}" for key in ids]
    else:
        ids, origins = list(range(table.num_rows)), _row_origins(table, part)
    order = list(range(len(ids)))
    if all(isinstance(key, int) for key in ids):  # pycocotools' order, which decides between equal scores
        order.sort(key=ids.__getitem__)
    samples: list[Sample] = [
        HubSample(name=str(ids[row]), origin=origins[row], rows=table, row=row, labels=labels, bits=bits)
        for row in order
    ]
    if not samples:
        raise DataError(f"{where} must hold images, but its part '{part}' is empty")
    return DataPart(samples)


def _row_origins(table: Any, part: str) -> list[str]:
    """Each row's index in the data set that it was sliced from; within `part` if that is unknown."""
    import datasets

    plain = re.fullmatch(r"([^\[\]+]+)(?:\[(\d*):\d*\])?", part)
    if plain is not None:
        first = int(plain[2] or 0)
        return [f"{plain[1]}/{first + row}" for row in range(table.num_rows)]
    sizes = {name: split.num_examples for name, split in (table.info.splits or {}).items()}
    try:
        pieces = datasets.ReadInstruction.from_spec(part).to_absolute(sizes)
    except (ValueError, AssertionError, TypeError):
        pieces = []
    origins = [f"{piece.splitname}/{row}" for piece in pieces for row in range(piece.from_, piece.to)]
    return origins if len(origins) == table.num_rows else [f"{part}/{row}" for row in range(table.num_rows)]


def _columns(objects: Any) -> dict[str, list[Any]]:
    if objects is None:
        return {"bbox": [], "category": []}
    if isinstance(objects, list):
        keys = objects[0].keys() if objects else ("bbox", "category")
        return {key: [entry[key] for entry in objects] for key in keys}
    return {key: ([] if values is None else list(values)) for key, values in objects.items()}


def _corners(box: Any) -> list[float]:
    if box is None or len(box) != 4 or any(v is None for v in box):
        return [math.nan] * 4
    return [float(v) for v in np.asarray(box, np.float64)]
