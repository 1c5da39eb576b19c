"""Whether the boxes of a hub data set are [x0, y0, x1, y1] or [x, y, width, height]: declared, or found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import islice
from operator import add
from typing import Any

import numpy as np

from trainables.data.evidence import BoxForm, Claims, box_form
from trainables.data.files.coco_fields import number
from trainables.data.files.pixels import read_size
from trainables.data.formats.hub_table import columns_of, held_file
from trainables.data.sample import Annotations
from trainables.errors import DataError
from trainables.specs.data import HubBoxes

MOST_ROWS = 20_000
"""Rows of a part that are looked at."""
MOST_IMAGES = 500
"""Images of a part whose size is read from their files."""
CLEAR = 10
"""How many times as many boxes must speak for one form as for the other."""
SOME = 0.02
"""The share of boxes that must not fit one form before the other is believed."""
UNKNOWN = (2**31, 2**31)
"""The size of an image whose size is not known: no box passes its border."""
Row = tuple[tuple[int, int], list[list[float]], list[float]]
"""The (height, width) of an image, the four numbers of each box, and their areas."""


def found_form(tables: Sequence[tuple[Any, str]], where: str) -> HubBoxes:
    """The form that areas and sizes show. Raises DataError if they show none.

    tables: the parts of the data set, each with its column of images.
    """
    counts = _sum(row for table, _ in tables for row in _rows(table))
    form = judged(counts)
    if form is None and any(not _has_sizes(table) for table, _ in tables):
        counts = _sum(row for table, image in tables for row in _rows(table, image))
        form = judged(counts)
    if form is not None or not counts.count:
        return form or HubBoxes.XYXY
    if counts.unit >= 0.9 * counts.count:
        return HubBoxes.XYXY  # in shares of the image: refused when the boxes are checked
    raise DataError(
        f"{where}: boxes may be [x0, y0, x1, y1] or [x, y, width, height], and nothing shows which: as both, "
        f"{counts.fit} of {counts.count} lie in their images, and no areas tell; look at some, and set "
        "data.hub.boxes to xyxy or xywh"
    )


def judged(counts: BoxForm) -> HubBoxes | None:
    """The form by the counts of boxes read as corners; None if they speak for neither, or for both."""
    corners, sides = counts.agree, counts.agree_otherwise
    if max(corners, sides) > CLEAR * min(corners, sides):
        return HubBoxes.XYXY if corners > sides else HubBoxes.XYWH
    if corners or sides:
        return None
    # Boxes that do not fit one form: those that are careless in the other are few.
    unfit, unfit_otherwise = counts.count - counts.fit, counts.count - counts.fit_otherwise
    if max(unfit, unfit_otherwise) < SOME * counts.count:
        return None
    if max(unfit, unfit_otherwise) > CLEAR * min(unfit, unfit_otherwise):
        return HubBoxes.XYXY if unfit < unfit_otherwise else HubBoxes.XYWH
    # Neither form fits: which it is then is judged, and refused, when the boxes are checked.
    return HubBoxes.XYXY if unfit and unfit_otherwise else None


def _sum(rows: Iterator[Row]) -> BoxForm:
    by_size: dict[tuple[int, int], tuple[list[list[float]], list[float]]] = defaultdict(lambda: ([], []))
    for size, boxes, areas in rows:
        by_size[size][0].extend(boxes)
        by_size[size][1].extend(areas)
    return reduce(add, (_counts(size, *held) for size, held in by_size.items()), BoxForm())


def _counts(size: tuple[int, int], boxes: list[list[float]], areas: list[float]) -> BoxForm:
    if not boxes:
        return BoxForm()
    given = np.array(boxes, np.float64)
    read = np.concatenate([given[:, :2], given[:, 2:] - given[:, :2]], axis=1)
    none = [0] * len(boxes)
    found = Annotations.of(read.tolist(), none, areas, [False] * len(boxes), corners=True)
    return box_form(Claims(found), size)


def _has_sizes(table: Any) -> bool:
    return {"width", "height"} <= set(table.features)


def _rows(table: Any, image: str | None = None) -> Iterator[Row]:
    """The rows with boxes. image: the column to read sizes from where the table has none."""
    columns = ["objects", *(["width", "height"] if _has_sizes(table) else [image] if image else [])]
    left = MOST_IMAGES
    for row in islice(table.select_columns(columns), MOST_ROWS):
        objects = columns_of(row["objects"])
        boxes = [box for box in objects["bbox"] if box is not None and len(box) == 4 and None not in box]
        areas = [number(area) for area in objects.get("area", [])]
        if not boxes:
            continue
        size = UNKNOWN
        if _has_sizes(table):
            height, width = row["height"], row["width"]
            size = (int(height), int(width)) if height and width else UNKNOWN
        elif image is not None and left:
            left -= 1
            size = _size(row[image])
        yield size, boxes, areas if len(areas) == len(boxes) else [np.nan] * len(boxes)


def _size(held: Any) -> tuple[int, int]:
    try:
        return read_size(held_file(held))[1]
    except Exception:  # any error of the decoder; it is reported where the image is read
        return UNKNOWN
