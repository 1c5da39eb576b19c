"""A LabelMe JSON file as values: the shapes drawn on one image, in pixels from its upper left edge."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.data.files.coco_fields import LARGEST, number, shown, whole_number
from trainables.data.files.drawn_masks import Outline
from trainables.data.sample import Array
from trainables.errors import DataError

CIRCLE = 128
"""Corners of the polygon that stands for a circle."""
POLYGONS = frozenset({"polygon", "rotation", "quadrilateral"})
"""Kinds of shape that are given by their corners, also those of tools that write LabelMe's files."""


Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True)
class LabelmeObject:
    """One object: shapes with one label and one group.

    outline: None if a shape has no area, and `problem` says why.  box: xywh.
    """

    label: str
    outline: Outline | None
    box: tuple[float, ...]
    problem: str = ""


@dataclass(frozen=True)
class LabelmeFile:
    """One file. image: the image's name or path as written, '' if none.

    declared: (height, width), if the file gives them.
    """

    image: str
    declared: tuple[int, int] | None
    objects: tuple[LabelmeObject, ...]


def is_labelme(held: Any) -> bool:
    """Whether the content of a JSON file is LabelMe's."""
    return isinstance(held, dict) and isinstance(held.get("shapes"), list) and "imagePath" in held


def load_labelme_file(path: Path) -> LabelmeFile:
    """Read a file. Raises DataError for what is not LabelMe's JSON, with the field."""
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"annotations must be JSON files of LabelMe, but {path}: {error}") from error
    if not is_labelme(held):
        raise DataError(
            f"annotations must be JSON files of LabelMe, but {path} has no shapes and imagePath; if it is "
            "another "
            "file, move it to another folder"
        )
    height, width = whole_number(held.get("imageHeight")), whole_number(held.get("imageWidth"))
    declared = (height, width) if height and width and height > 0 and width > 0 else None
    objects = tuple(_objects(held["shapes"], declared, str(path)))
    return LabelmeFile(str(held["imagePath"] or "").replace("\\", "/"), declared, objects)


def _objects(shapes: list[Any], declared: tuple[int, int] | None, path: str) -> Iterator[LabelmeObject]:
    """The objects in the order of their first shape: shapes of one label and one group are one object."""
    grouped: dict[tuple[str, Any], list[LabelmeObject]] = {}
    for place, given in enumerate(shapes):
        label = given.get("label") if isinstance(given, Mapping) else None
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{path}: shapes[{place}].label must be a class's name, got {shown(label)}")
        group = given.get("group_id")
        key = (label, place if group is None else f"group {group}")
        grouped.setdefault(key, []).append(_drawn(label, given, declared, f"shapes[{place}]"))
    for parts in grouped.values():
        yield parts[0] if len(parts) == 1 else _together(parts)


def _drawn(
    label: str, given: Mapping[str, Any], declared: tuple[int, int] | None, name: str
) -> LabelmeObject:
    kind = str(given.get("shape_type") or "polygon")
    points = _points(given.get("points"))
    if points is None:
        return _without(label, f"{name} has points that are no numbers")
    if kind in POLYGONS and len(points) >= 3:
        return _around(label, points)
    if kind == "rectangle" and len(points) >= 2:
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return _around(label, np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))
    if kind == "circle" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        angles = np.arange(CIRCLE) * (2 * math.pi / CIRCLE)
        found = _around(label, points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
        x, y = points[0].tolist()
        return LabelmeObject(label, found.outline, (x - radius, y - radius, 2 * radius, 2 * radius))
    if kind == "mask" and len(points) == 2:
        return _masked(label, given.get("mask"), points, declared, name)
    return _without(label, f"{name} is a {kind} of {len(points)} points, which has no area")


def _points(given: Any) -> Array | None:
    """(n, 2) numbers; None if they are not."""
    if not isinstance(given, list) or not all(isinstance(p, list) and len(p) == 2 for p in given):
        return None
    values = np.array([[number(v) for v in point] for point in given], np.float64).reshape(-1, 2)
    return values if (np.abs(values) < LARGEST).all() else None


def _around(label: str, corners: Array) -> LabelmeObject:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return LabelmeObject(label, Outline((corners,)), (*low.tolist(), *(high - low).tolist()))


def _masked(
    label: str, given: Any, points: Array, declared: tuple[int, int] | None, name: str
) -> LabelmeObject:
    """A mask within its box, as LabelMe's AI tools store it: a PNG, in base64."""
    if declared is None:
        return _without(label, f"{name} is a mask, which needs imageHeight and imageWidth")
    try:
        with Image.open(io.BytesIO(base64.b64decode(given, validate=True))) as picture:
            inside = np.asarray(picture.convert("L")) > 0
    except (TypeError, ValueError, binascii.Error, OSError, SyntaxError) as error:
        return _without(label, f"{name} has a mask that is no PNG in base64: {error}")
    left, top = (round(v) for v in points[0].tolist())
    height, width = inside.shape
    if left < 0 or top < 0 or top + height > declared[0] or left + width > declared[1] or not inside.any():
        return _without(label, f"{name} has a mask that is empty, or passes the border of the image")
    whole = np.zeros(declared, bool)
    whole[top : top + height, left : left + width] = inside
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = (
        float(left + columns[0]), float(top + rows[0]),
        float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1),
    )  # fmt: skip
    return LabelmeObject(label, Outline.of_pixels(whole), box)


def _together(parts: list[LabelmeObject]) -> LabelmeObject:
    """The shapes of one group as one object."""
    for part in parts:
        if part.outline is None:
            return part
    outlines = [part.outline for part in parts if part.outline is not None]
    boxes = np.array([part.box for part in parts])
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return LabelmeObject(parts[0].label, Outline.together(outlines), (*low.tolist(), *(high - low).tolist()))


def _without(label: str, problem: str) -> LabelmeObject:
    return LabelmeObject(label, None, (math.nan,) * 4, problem)
