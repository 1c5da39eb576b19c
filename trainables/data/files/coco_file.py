"""A COCO JSON file as values: its images, each with its annotations, and its categories."""

from __future__ import annotations

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.files.coco_fields import (
    Key,
    Keys,
    box,
    flag,
    key,
    kind_of,
    not_a_key,
    number,
    shown,
    whole_number,
)
from trainables.data.files.drawn_masks import Outline
from trainables.data.files.outlines import canvas_of, is_box, outline_box, outline_of
from trainables.data.sample import fold_name
from trainables.errors import DataError

Json = dict[str, Any]
SIZEABLE = 1 / 3
"""How many annotations of an unknown id, as a share of an id's mean, are more than what was left over."""


@dataclass(frozen=True)
class Entry:
    """One annotation. box: xywh; NOT_A_BOX if unreadable.  category: None if it is not declared.

    drawn: whether the box was taken from the polygon or mask, because the file gives none.
    canvas: the (height, width) of the mask in run-length encoding that it was taken from.
    shape: its polygons or its mask, where they were asked for.
    """

    name: str
    category: Key | None
    box: tuple[float, ...]
    outline: tuple[float, ...]
    area: float
    crowd: bool
    drawn: bool
    canvas: tuple[int, int] | None = None
    shape: Outline | None = None


@dataclass(frozen=True)
class ImageEntry:
    """One entry of `images`. declared: (height, width) if the file gives them."""

    id: Key
    file_name: str
    declared: tuple[int, int] | None


@dataclass(frozen=True)
class CocoFile:
    """The content of a file, in the order of its ids.

    entries: the annotations by the image's id.  twice: the names of annotations that repeat another one.
    stray: annotations of images that are not listed, with their `image_id`.
    parents: the folded names of categories that are others' `supercategory`.
    """

    images: tuple[ImageEntry, ...]
    categories: Mapping[Key, str]
    parents: frozenset[str]
    entries: Mapping[Key, tuple[Entry, ...]]
    twice: tuple[tuple[Key, str], ...]
    stray: tuple[tuple[str, str], ...]

    @property
    def used(self) -> set[str]:
        """The names of the categories that annotations have."""
        return {
            self.categories[entry.category]
            for entries in self.entries.values()
            for entry in entries
            if entry.category is not None
        }


def load_coco_file(path: str, *, shapes: bool = False) -> CocoFile:
    """Read and check a file. Raises DataError for what is not COCO JSON, with the field's name.

    shapes: whether polygons and masks are kept.
    """
    file = _lists(path)
    for problem in _problems(file):
        raise DataError(f"{path}: {problem}")
    # The order of images decides between equal scores: pycocotools sorts by id.
    images = sorted(file["images"], key=lambda i: (isinstance(key(i["id"]), str), key(i["id"])))
    listed = tuple(ImageEntry(_id(image), str(image["file_name"]), _declared(image)) for image in images)
    categories = {_id(entry): str(entry["name"]) for entry in sorted(file["categories"], key=_id)}
    ids = Keys(i.id for i in listed), Keys(categories)
    found, twice, stray = _annotations(path, file, *ids, shapes)
    parents = {
        fold_name(str(entry["supercategory"]))
        for entry in file["categories"]
        if entry.get("supercategory") is not None
        and fold_name(str(entry["supercategory"])) != fold_name(str(entry["name"]))
    }
    return CocoFile(listed, categories, frozenset(parents), found, twice, stray)


def _lists(path: str) -> Json:
    try:
        file = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"annotations must be a COCO JSON file, but {path}: {error}") from error
    for name, needed in (
        ("images", ("id", "file_name")),
        ("annotations", ("image_id",)),
        ("categories", ("id", "name")),
    ):
        entries = file.get(name) if isinstance(file, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"{path} must hold a list '{name}', as COCO JSON does")
        for place, entry in enumerate(entries):
            absent = [n for n in needed if not isinstance(entry, dict) or n not in entry]
            if absent:
                raise DataError(f"{path}: {name}[{place}] must have {' and '.join(absent)}")
    for name in ("images", "categories"):
        if not file[name]:
            raise DataError(f"{path} must list {name}, got none")
    return dict(file)


def _problems(file: Json) -> Iterator[str]:
    """Yield the errors in ids and names, which must be unique."""
    for name in ("images", "categories"):
        seen: dict[Key, int] = {}
        for place, entry in enumerate(file[name]):
            own = key(entry["id"])
            if own is None:
                yield f"{name}[{place}].id {not_a_key(entry['id'])}"
            elif own in seen:
                yield (
                    f"{name} must have unique ids, but {name}[{seen[own]}] and {name}[{place}] "
                    f"both have {shown(entry['id'])}"
                )
            else:
                seen[own] = place
    if len({type(key(entry["id"])) for entry in file["categories"]}) > 1:
        yield "ids of categories must be all whole numbers or all strings, got both"
    for place, entry in enumerate(file["categories"]):
        if not _is_name(entry["name"]):
            yield f"categories[{place}].name must be a string, got {shown(entry['name'])}"
    for place, entry in enumerate(file["images"]):
        if not _is_file_name(entry["file_name"]):
            yield f"images[{place}].file_name must be a file's name, got {shown(entry['file_name'])}"
    for place, entry in enumerate(file["annotations"]):
        if key(entry["image_id"]) is None:
            yield f"annotations[{place}].image_id {not_a_key(entry['image_id'])}"


def _is_name(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_file_name(value: Any) -> bool:
    try:
        return isinstance(value, str) and value not in ("", ".", "..") and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _id(entry: Json) -> Any:
    return key(entry["id"])


def _declared(image: Json) -> tuple[int, int] | None:
    height, width = whole_number(image.get("height")), whole_number(image.get("width"))
    return (height, width) if height and width and height > 0 and width > 0 else None


Found = tuple[dict[Key, tuple[Entry, ...]], tuple[tuple[Key, str], ...], tuple[tuple[str, str], ...]]


def _annotations(path: str, file: Json, images: Keys, categories: Keys, shapes: bool) -> Found:
    """The annotations by image; those that repeat another one; those of images that are not listed."""
    by_image: dict[Key, list[Entry]] = defaultdict(list)
    twice: list[tuple[Key, str]] = []
    stray: list[tuple[str, str]] = []
    seen: dict[Key, set[str]] = defaultdict(set)
    for place, given in enumerate(file["annotations"]):
        name = f"annotation {given.get('id')}"
        image = images.find(given["image_id"])
        entry = _entry(name, given, categories, f"{path}: annotations[{place}]", shapes)
        if image is None:
            stray.append((name, shown(given["image_id"])))
            continue
        content = repr((entry.category, entry.box, entry.outline, entry.area, entry.crowd, entry.shape))
        if content in seen[image] and is_box(list(entry.box)):
            twice.append((image, name))
            continue
        seen[image].add(content)
        by_image[image].append(entry)
    _check_ids(path, file, images, categories, bool(by_image or twice))
    return {image: tuple(entries) for image, entries in by_image.items()}, tuple(twice), tuple(stray)


def _check_ids(path: str, file: Json, images: Keys, categories: Keys, any_image: bool) -> None:
    """Raise DataError if no annotation at all names a listed image, or a declared category."""
    entries = file["annotations"]
    if not entries:
        return
    if not any_image:
        raise DataError(
            f"{path}: annotations must name listed images, but none of {len(entries)} does: their image_id "
            f"is of type {kind_of(e['image_id'] for e in entries)}, such as {shown(entries[0]['image_id'])}; "
            f"images have ids of type {images.kind}, such as {shown(file['images'][0]['id'])}"
        )
    _check_first(path, "image_id", [e["image_id"] for e in entries], images, "images")
    given = [e["category_id"] for e in entries if e.get("category_id") is not None]
    if given and all(categories.find(value) is None for value in given):
        raise DataError(
            f"{path}: annotations must name declared categories, but none of {len(given)} does: their "
            f"category_id is of type {kind_of(given)}, such as {shown(given[0])}; categories have ids of "
            f"type {categories.kind}, such as {shown(file['categories'][0]['id'])}"
        )
    _check_first(path, "category_id", given, categories, "categories")


def _check_first(path: str, field: str, given: list[Any], declared: Keys, what: str) -> None:
    """Raise DataError if ids are counted from 0 in one place and from 1 in the other.

    A file that was filtered also has annotations whose image or category is gone: those are listed as faults.
    """
    used = Counter(number for value in given if (number := whole_number(value)) is not None)
    strange = sorted(number for number in used if declared.find(number) is None)
    # The ids at the end of a count have about as many annotations as others; what is left over has few.
    if not strange or sum(used[n] for n in strange) * len(used) < SIZEABLE * used.total() * len(strange):
        return
    for step in (1, -1):
        shifted = {declared.find(number + step) for number in used}
        if shifted == declared.all:
            raise DataError(
                f"{path}: annotations must name the ids of {what}, but {field} {strange[0]} is not one, and "
                f"the {field}s {'plus' if step > 0 else 'minus'} 1 are these ids: are ids counted from 0 in "
                f"one place and from 1 in the other? correct them, or remove the annotations with {field} "
                f"{strange[0]}"
            )


def _entry(name: str, given: Json, categories: Keys, where: str, shapes: bool) -> Entry:
    outline = outline_box(given.get("segmentation"))
    read = box(given.get("bbox"))
    # Tools that draw polygons leave the box out, empty, all zero, or without an extent.
    absent = given.get("bbox") in (None, []) or (not math.isnan(read[0]) and not is_box(read))
    drawn = absent and is_box(outline)
    return Entry(
        name=name,
        category=categories.find(given.get("category_id")),
        box=tuple(outline if drawn else read),
        outline=tuple(outline),
        area=number(given.get("area")),
        crowd=flag(given.get("iscrowd"), f"{where}.iscrowd"),
        drawn=drawn,
        canvas=canvas_of(given.get("segmentation")) if drawn else None,
        shape=outline_of(given.get("segmentation")) if shapes else None,
    )
