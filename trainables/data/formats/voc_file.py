"""An XML file of Pascal VOC as values, and the lists of `ImageSets/Main`.

Files come from other people, so entities, which can grow without bound, are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from trainables.data.files.coco_fields import LARGEST, flag, number, shown, whole_number
from trainables.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
NOTHING = (math.nan,) * 4


@dataclass(frozen=True)
class VocObject:
    """One object. corners: xmin, ymin, xmax, ymax as written, NaN if unreadable."""

    name: str
    corners: tuple[float, ...]
    difficult: bool
    truncated: bool


@dataclass(frozen=True)
class VocFile:
    """One file. file_name: that of its image as written, '' if none.  declared: (height, width), if given."""

    file_name: str
    declared: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def load_voc_file(path: Path) -> VocFile:
    """Read a file. Raises DataError for what is not Pascal VOC's XML, with the element."""
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except (OSError, ParseError, ValueError, LookupError) as error:
        why = "it declares a document type or entities" if isinstance(error, DefusedXmlException) else error
        raise DataError(f"annotations must be XML files of Pascal VOC, but {path}: {why}") from error
    if root.tag != "annotation":
        raise DataError(
            f"annotations must be XML files of Pascal VOC, but the root of {path} is <{root.tag}>, not "
            "<annotation>"
        )
    objects = tuple(_objects(root, path))
    # Windows tools write a whole path.
    file_name = _text(root, "filename").replace("\\", "/").rpartition("/")[2]
    return VocFile(file_name, _declared(root), objects)


def _objects(root: Element, path: Path) -> Iterator[VocObject]:
    # Parts of an object, such as a person's head, are boxes inside it and no objects.
    for place, given in enumerate(root.findall("object"), 1):
        where = f"{path}: object {place}"
        name = _text(given, "name")
        if not name:
            raise DataError(f"{where} must have a name")
        box = given.find("bndbox")
        corners = NOTHING if box is None else tuple(number(_text(box, key)) for key in CORNERS)
        if not all(abs(value) < LARGEST for value in corners):
            corners = NOTHING
        yield VocObject(name, corners, _flag(given, "difficult", where), _flag(given, "truncated", where))


def _flag(given: Element, key: str, where: str) -> bool:
    text = _text(given, key)
    if text.casefold() == "unspecified":  # so in VOC 2007 and 2008, for poses and truncation
        return False
    return flag(text or None, f"{where}: {key}")


def _text(given: Element, key: str) -> str:
    return (given.findtext(key) or "").strip()


def _declared(root: Element) -> tuple[int, int] | None:
    """(height, width); None if absent or 0, as some tools leave it."""
    size = root.find("size")
    if size is None:
        return None
    height, width = (whole_number(_text(size, key)) for key in ("height", "width"))
    return (height, width) if height and width and height > 0 and width > 0 else None


def read_list(path: Path, where: str) -> list[str]:
    """The names in a list of `ImageSets/Main`. Raises DataError for one of a single class, or none."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where} must be a text file with a name in each line: {error}") from error
    rows = [line for line in lines if line]
    if rows and all(len(row) == 2 and row[1] in {"-1", "0", "1"} for row in rows):
        raise DataError(
            f"{where} must list images by name, but {path} says of each whether it shows one class, such as "
            f"'{' '.join(rows[0])}'; use the list of all classes, such as train.txt"
        )
    if wrong := [row for row in rows if len(row) > 1]:
        raise DataError(
            f"{where} must have one name in each line, but {path} has {shown(' '.join(wrong[0]))}"
        )
    if not rows:
        raise DataError(f"{where} must list images, but {path} is empty")
    return list(dict.fromkeys(row[0] for row in rows))
