"""The box around a `segmentation` of COCO JSON: polygons, or a mask in run-length encoding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainables.data.files.coco_fields import LARGEST, NOT_A_BOX, number, whole_number
from trainables.data.files.drawn_masks import Outline

FEWEST = 6
"""The numbers of a polygon with an area: three corners."""


def outline_box(segmentation: Any) -> list[float]:
    """xywh around all polygons, or around the mask's pixels; NOT_A_BOX if there is nothing readable."""
    if isinstance(segmentation, dict):
        return _around_runs(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return NOT_A_BOX
    if isinstance(segmentation[0], dict):
        return NOT_A_BOX
    flat = not isinstance(segmentation[0], list)
    corners: list[tuple[float, float]] = []
    for polygon in [segmentation] if flat else segmentation:
        corners += _corners(polygon)
    if not corners:
        return NOT_A_BOX
    x, y = zip(*corners, strict=True)
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def outline_of(segmentation: Any) -> Outline | None:
    """The polygons, or the mask; None if it is neither, or if one of its polygons is unreadable."""
    if isinstance(segmentation, dict):
        canvas, runs = canvas_of(segmentation), _runs(segmentation.get("counts"))
        if canvas is None or runs is None or min(canvas) < 1 or sum(runs) != canvas[0] * canvas[1]:
            return None
        return Outline(runs=(np.array(runs, np.int64),), canvas=canvas)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    flat = not isinstance(segmentation[0], list)
    polygons = [_corners(polygon) for polygon in ([segmentation] if flat else segmentation)]
    if not all(polygons):
        return None
    return Outline(tuple(np.array(polygon, np.float64) for polygon in polygons))


def canvas_of(segmentation: Any) -> tuple[int, int] | None:
    """The (height, width) that a mask in run-length encoding says it has; None for polygons."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = (whole_number(side) for side in size)
    return None if height is None or width is None else (height, width)


def _corners(polygon: Any) -> list[tuple[float, float]]:
    """The corners of one polygon; none if it is not one."""
    if not isinstance(polygon, list):
        return []
    numbers = [number(value) for value in _flat(polygon)]
    if len(numbers) < FEWEST or len(numbers) % 2 or not all(abs(v) < LARGEST for v in numbers):
        return []
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _flat(polygon: list[Any]) -> list[Any]:
    """[x, y, x, y, …], also for a polygon of pairs."""
    if all(isinstance(pair, list) and len(pair) == 2 for pair in polygon):
        return [value for pair in polygon for value in pair]
    return polygon


def _around_runs(mask: dict[str, Any]) -> list[float]:
    height, width = canvas_of(mask) or (0, 0)
    runs = _runs(mask.get("counts"))
    if height < 1 or width < 1 or runs is None or sum(runs) != height * width:
        return NOT_A_BOX
    # Runs go down the columns, and begin with pixels that are not in the mask.
    ends = np.cumsum(runs)
    first, last = ends[0:-1:2], ends[1::2] - 1
    real = last >= first
    first, last = first[real], last[real]
    if not len(first):
        return NOT_A_BOX
    left, right = int(first.min() // height), int(last.max() // height)
    # A run that goes on in the next column covers the border of the image.
    across = first // height != last // height
    top = 0 if across.any() else int((first % height).min())
    bottom = height - 1 if across.any() else int((last % height).max())
    return [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]


def _runs(counts: Any) -> list[int] | None:
    """The lengths of the runs: a list, or COCO's compressed text. None if it is neither."""
    if isinstance(counts, list):
        runs = [whole_number(run) for run in counts]
        return [run for run in runs if run is not None] if all((r or 0) >= 0 for r in runs) else None
    if not isinstance(counts, str) or not counts:
        return None
    runs_found: list[int] = []
    value, shift = 0, 0
    for letter in counts:
        code = ord(letter) - 48
        if not 0 <= code < 64:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        # From the third run on, the text holds the difference to the run before the last.
        runs_found.append(value + (runs_found[-2] if len(runs_found) > 2 else 0))
        value, shift = 0, 0
    return runs_found if not shift and all(run >= 0 for run in runs_found) else None


def is_box(values: list[float]) -> bool:
    """Whether these are four numbers with an extent."""
    return not any(math.isnan(v) for v in values) and values[2] > 0 and values[3] > 0
