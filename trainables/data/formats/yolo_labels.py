"""The rows of a YOLO label file: boxes by centre and sides, or polygons, as shares of the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.files.coco_fields import SHOWN, number, whole_number
from trainables.data.sample import Array
from trainables.errors import DataError
from trainables.wording import few

BOX = 4
"""The numbers of a box: centre x and y, width, height."""
FEWEST = 6
"""The numbers of a polygon with an area: three corners."""
SLACK = 0.01
"""By how much a share may pass 0 or 1: this is rounding, not another unit."""
ENOUGH = 10
"""The boxes beyond the border that a judgement needs at least."""
FORM = "class x y width height, or class x1 y1 x2 y2 x3 y3 …, as shares of the image"


@dataclass(frozen=True)
class YoloRow:
    """An object. number: its class. box: (4,) centre and sides.  polygon: (k, 2) corners; None for a box."""

    number: int
    box: Array
    polygon: Array | None = None


@dataclass(frozen=True)
class YoloLabels:
    """The rows of one file, each once.

    wrong: what is wrong with each row that is left out.  strange: the class numbers among these that names do
    not have.  twice: what is said of rows that repeat another.  boxes: what is said of those that are boxes.
    exists: whether there is a file: without one, its image has no objects.
    """

    rows: tuple[YoloRow, ...] = ()
    wrong: tuple[str, ...] = ()
    strange: tuple[int, ...] = ()
    twice: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    exists: bool = True


def load_labels(path: Path, names: Mapping[int, str], points: int = 0) -> YoloLabels:
    """Read a label file. names: the classes by number.  points: the numbers of a pose after each box.

    A row that is not one is listed as wrong. Raises DataError for a file that cannot be read as text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return YoloLabels(exists=False)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"labels must be a text file with an object in each line, but {path}: {error}"
        ) from error
    rows: list[YoloRow] = []
    wrong: list[str] = []
    strange: list[int] = []
    boxes: list[str] = []
    twice: list[str] = []
    seen: dict[tuple[str, ...], int] = {}
    for place, line in enumerate(lines, 1):
        fields = tuple(line.split())
        if not fields:
            continue
        if (first := seen.setdefault(fields, place)) != place:
            twice.append(f"line {place} of {path.name} repeats line {first}")
            continue
        read = _row(fields, names, points)
        if isinstance(read, str):
            wrong.append(f"line {place} of {path.name} {read}")
            if (own := whole_number(fields[0])) is not None and own not in names:
                strange.append(own)
        else:
            rows.append(read)
            if read.polygon is None:
                boxes.append(f"line {place} of {path.name} is a box, so its pixels are not known")
    return YoloLabels(tuple(rows), tuple(wrong), tuple(strange), tuple(twice), tuple(boxes))


def _row(fields: tuple[str, ...], names: Mapping[int, str], points: int) -> YoloRow | str:
    """The row, or what is wrong with it."""
    text = " ".join(fields)
    text = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    values = np.array([number(field) for field in fields[1:]])
    own = whole_number(fields[0])
    if own is None or not np.isfinite(values).all():
        return f"must be {FORM}, got '{text}'"
    if own not in names:
        return f"has class {own}, which names do not have; they have {_ranges(names)}"
    if points:
        if len(values) != BOX + points:
            return f"must have {1 + BOX + points} numbers by kpt_shape, got {len(fields)}"
        return YoloRow(own, values[:BOX])
    if len(values) == BOX:
        return YoloRow(own, values)
    if len(values) == BOX + 1:
        return f"has {len(fields)} numbers, as a prediction with its score has; labels are {FORM}"
    if len(values) < FEWEST or len(values) % 2:
        return f"must be {FORM}, got {len(fields)} numbers: '{text}'"
    corners = values.reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return YoloRow(own, np.concatenate([(low + high) / 2, high - low]), corners)


def _ranges(names: Mapping[int, str]) -> str:
    """`0 to 4`, or the numbers if they have gaps."""
    numbers = list(names)
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return few([str(n) for n in numbers], 10)


def wrong_numbers(labels: Sequence[YoloLabels], names: Mapping[int, str]) -> str | None:
    """Why the class numbers cannot be those of `names`; None if they can."""
    used = Counter(row.number for each in labels for row in each.rows)
    strange = Counter(number for each in labels for number in each.strange)
    if not strange:
        return None
    both, last = used + strange, max(names)
    if min(both) == min(names) + 1 and max(both) == last + 1:
        return (
            f"class numbers must be those of names, {_ranges(names)}, but they are {min(both)} to "
            f"{max(both)}: are "
            "they counted from 1? subtract 1, or give the names these numbers"
        )
    if strange.total() >= 0.5 * both.total():
        numbers = few([str(number) for number in sorted(strange)], 10)
        return (
            f"class numbers must be those of names, {_ranges(names)}, but {strange.total()} of "
            f"{both.total()} objects "
            f"have others: {numbers}; are these the category ids of COCO JSON? give the names by these "
            "numbers"
        )
    return None


def wrong_shares(labels: Sequence[YoloLabels]) -> str | None:
    """Why rows cannot be shares of centre and sides; None if they can."""
    given = [row for each in labels for row in each.rows]
    rows = np.array([row.box for row in given]).reshape(-1, BOX)
    large = int((rows > 1 + SLACK).any(axis=1).sum())
    if large and large >= max(min(3, len(rows)), 0.5 * len(rows)):
        return (
            f"objects must be in shares of the image, from 0 to 1, but {large} of {len(rows)} have larger "
            "numbers; are "
            "these pixels? divide x and width by the image's width, and y and height by its height"
        )
    rows = rows[[row.polygon is None for row in given]]
    near, sides = rows[:, :2], rows[:, 2:]
    outside = int(((near - sides / 2 < -SLACK) | (near + sides / 2 > 1 + SLACK)).any(axis=1).sum())
    if outside < max(ENOUGH, 0.3 * len(rows)):
        return None
    said = (
        f"boxes must be [centre x, centre y, width, height], but {outside} of {len(rows)} pass the border so"
    )
    fitting = ["[x0, y0, x1, y1]"] if (sides > near).all() else []
    if (near + sides <= 1 + SLACK).all():
        fitting.append("[x, y, width, height] from the upper left corner")
    return f"{said}, and all fit as {' or as '.join(fitting)}; convert them" if fitting else None
