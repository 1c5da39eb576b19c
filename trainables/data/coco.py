"""Detection data in COCO JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import JsonValue

from trainables.data.faults import Action, Fault, Finding
from trainables.data.sample import (
    Annotations,
    DataPart,
    DataSource,
    Sample,
    identity_of,
    need_folder,
    open_rgb,
    unknown_classes,
)
from trainables.errors import DataError
from trainables.specs.data import CocoData, CocoPart, Split

Key = int | str
"""The id of an image or a category."""
NOT_A_BOX = [math.nan] * 4
LARGEST = 1e9
"""The largest valid side of a box, in pixels."""
SHOWN = 60
"""Characters of a wrong value that a message shows."""


@dataclass(frozen=True, eq=False)
class CocoSample:
    """One entry of `images` with its annotations. declared: (height, width), if the file declares them."""

    name: str
    path: Path
    declared: tuple[int, int] | None
    found: Annotations

    @cached_property
    def origin(self) -> str:
        """The image's path."""
        return str(self.path.resolve())

    def image(self) -> Image.Image:
        """The image. Raises ValueError if its size is not the declared one."""
        return open_rgb(self.path, declared=self.declared)

    def annotations(self) -> Annotations:
        """The image's boxes, including crowds."""
        return self.found

    def mask(self) -> None:
        """No mask."""


Given = Mapping[Split, tuple[str, CocoPart]]
"""The parts to read, each with its key in the experiment file."""


def read_coco(spec: CocoData, classes: Sequence[str] | None = None) -> DataSource:
    """Read the given parts. Classes are the names of the categories in all files, those of train first.

    classes: used instead of the files' categories; every box must then have one of them.
    """
    parts = {split: part for split in Split if (part := getattr(spec, split)) is not None}
    return read_coco_parts({s: (f"data.coco.{s}", part) for s, part in parts.items()}, classes)


def read_coco_parts(given: Given, classes: Sequence[str] | None = None) -> DataSource:
    """See `read_coco`. Raises DataError."""
    files = {split: (where, part, _load(part)) for split, (where, part) in given.items()}
    if classes is None:
        names = dict.fromkeys(name for *_, file in files.values() for name in _categories(file).values())
        classes = tuple(names)
    else:
        for where, _, file in files.values():
            _only_of(classes, file, where)
    parts = {
        split: _read_part(part, file, classes, split, where) for split, (where, part, file) in files.items()
    }
    return DataSource(tuple(classes), parts)


def _only_of(classes: Sequence[str], file: dict[str, Any], where: str) -> None:
    """Refuse boxes of other classes; the file may declare other categories without boxes."""
    names = _categories(file)
    used = {entry.get("category_id") for entry in file["annotations"] if _is_key(entry.get("category_id"))}
    if unknown := [name for key, name in names.items() if key in used and name not in classes]:
        raise DataError(unknown_classes(f"{where}.annotations", unknown, classes))


def coco_identity(spec: CocoData) -> JsonValue:
    """The content of the annotations, and the names, sizes and modification times of the image files."""
    return [None if part is None else coco_files(part) for part in (spec.train, spec.validation, spec.test)]


def coco_files(part: CocoPart, where: str = "") -> JsonValue:
    """Digests of the annotations and of the image folder. Raises DataError if one does not exist."""
    prefix = f"{where}." if where else ""
    try:
        content = hashlib.sha256(Path(part.annotations).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{prefix}annotations must be a COCO JSON file: {error}") from error
    return [content, identity_of(need_folder(part.images, what=f"{prefix}images"))]


def _load(part: CocoPart) -> dict[str, Any]:
    """The content of the file, checked to have its three lists. Raises DataError."""
    try:
        file = json.loads(Path(part.annotations).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"annotations must be a COCO JSON file, but {part.annotations}: {error}") from error
    for key, needed in (
        ("images", ("id", "file_name")),
        ("annotations", ("image_id",)),
        ("categories", ("id", "name")),
    ):
        entries = file.get(key) if isinstance(file, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"{part.annotations} must hold a list '{key}', as COCO JSON does")
        for place, entry in enumerate(entries):
            absent = [n for n in needed if not isinstance(entry, dict) or n not in entry]
            if absent:
                raise DataError(f"{part.annotations}: {key}[{place}] must have {' and '.join(absent)}")
    if not file["images"]:
        raise DataError(f"{part.annotations} must list images, got none")
    if not file["categories"]:
        raise DataError(f"{part.annotations} must list categories, got none")
    for problem in _problems(file):
        raise DataError(f"{part.annotations}: {problem}")
    return dict(file)


def _problems(file: dict[str, Any]) -> Iterator[str]:
    """Yield the errors in ids and names, which must be unique."""
    for key in ("images", "categories"):
        seen: dict[Key, int] = {}
        for place, entry in enumerate(file[key]):
            if not _is_key(entry["id"]):
                yield f"{key}[{place}].id must be a whole number or a string, got {_shown(entry['id'])}"
            elif entry["id"] in seen:
                yield (
                    f"{key} must have unique ids, but {key}[{seen[entry['id']]}] and {key}[{place}] "
                    f"both have {_shown(entry['id'])}"
                )
            else:
                seen[entry["id"]] = place
    if len({type(entry["id"]) for entry in file["categories"]}) > 1:
        yield "ids of categories must be all whole numbers or all strings, got both"
    for place, entry in enumerate(file["categories"]):
        if not _is_key(entry["name"]):
            yield f"categories[{place}].name must be a string, got {_shown(entry['name'])}"
    for place, entry in enumerate(file["images"]):
        if not _is_file_name(entry["file_name"]):
            yield f"images[{place}].file_name must be a file's name, got {_shown(entry['file_name'])}"
    for place, entry in enumerate(file["annotations"]):
        if not _is_key(entry["image_id"]):
            yield (
                f"annotations[{place}].image_id must be a whole number or a string, "
                f"got {_shown(entry['image_id'])}"
            )


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_file_name(value: Any) -> bool:
    try:
        return isinstance(value, str) and value not in ("", ".", "..") and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _categories(file: dict[str, Any]) -> dict[Key, str]:
    return {entry["id"]: str(entry["name"]) for entry in sorted(file["categories"], key=lambda e: e["id"])}


def _read_part(
    part: CocoPart, file: dict[str, Any], classes: Sequence[str], split: Split, where: str
) -> DataPart:
    folder = need_folder(part.images, what=f"{where}.images")
    place = {name: i for i, name in enumerate(classes)}
    label = {key: place[name] for key, name in _categories(file).items() if name in place}
    by_image: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for entry in file["annotations"]:
        by_image[entry["image_id"]].append(entry)
    samples: list[Sample] = []
    # The order of images decides between equal scores: pycocotools sorts by id.
    for image in sorted(file["images"], key=lambda i: (isinstance(i["id"], str), i["id"])):
        entries = by_image.pop(image["id"], [])
        name = str(image["file_name"])
        samples.append(CocoSample(name, folder / name, _declared(image), _annotations(entries, label)))
    faults = [
        Finding(
            split,
            f"annotation {entry.get('id')}",
            Fault.BAD_BOX,
            Action.BOX_DROPPED,
            f"it belongs to image {entry['image_id']}, which the file does not list",
        )
        for entries in by_image.values()
        for entry in entries
    ]
    return DataPart(samples, tuple(faults))


def _declared(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _annotations(entries: list[dict[str, Any]], label: dict[Key, int]) -> Annotations:
    """The boxes unchanged; `check` lists one without four numbers or without a category as an error."""
    return Annotations.of(
        [_box(entry.get("bbox")) for entry in entries],
        [_label(entry.get("category_id"), label) for entry in entries],
        [_number(entry.get("area")) for entry in entries],
        [bool(entry.get("iscrowd", 0)) for entry in entries],
    )


def _label(key: Any, label: dict[Key, int]) -> int:
    return label.get(key, -1) if _is_key(key) else -1


def _box(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 4:
        return NOT_A_BOX
    numbers = [_number(v) for v in value]
    return numbers if all(abs(v) < LARGEST for v in numbers) else NOT_A_BOX


def _number(value: Any) -> float:
    """The value as a float; NaN if it is no number, or too large for a float."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan
