"""Semantic masks drawn from the polygons of YOLO labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import prepared, workload
from format_makers import scenes

from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(32, 64)
SQUARE = "0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n"
OVER = "2 0.375 0.5 0.75 0.5 0.75 0.625 0.375 0.625\n"
"""Corners of whole pixels in an image of 64×32."""


def folder(root: Path, rows: str, count: int = 8) -> dict[str, Any]:
    (root / "labels").mkdir(parents=True)
    for scene in scenes(0, count):
        scene.save(root / "images")
        (root / f"labels/{scene.number:03d}.txt").write_text(rows)
    (root / "data.yaml").write_text("train: images\nnames: [ape, bee, cow]\n")
    return {"yolo": {"file": str(root / "data.yaml")}}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(Task.SEGMENTATION, data)
    return str(error.value)


def test_polygons_are_drawn_later_ones_over_earlier_ones(tmp_path: Path) -> None:
    held = prepared(Task.SEGMENTATION, folder(tmp_path, SQUARE + OVER), SIZE)
    assert held.classes == ("background", "ape", "bee", "cow")
    expected = np.zeros((32, 64), np.uint8)
    expected[8:24, 16:32] = 1
    expected[16:20, 24:48] = 3
    for part in held.splits.values():
        for i in range(len(part)):
            assert (part.mask(i) == expected).all()
    assert held.meta["faults"] == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1 0.5 0.5 0.25 0.25", "line 2 of 003.txt is a box, so its pixels are not known"),
        ("9 0.1 0.1 0.2 0.1 0.2 0.2", "line 2 of 003.txt has class 9"),
        ("0 0.1 0.1 0.2", "line 2 of 003.txt must be class x y width height"),
    ],
)
def test_a_row_that_is_no_polygon_makes_a_bad_mask(tmp_path: Path, row: str, said: str) -> None:
    data = folder(tmp_path, SQUARE)
    (tmp_path / "labels/003.txt").write_text(f"{SQUARE}{row}\n")
    assert f"003.png  bad_mask: {said}" in refused(data)
    left = prepared(Task.SEGMENTATION, data | {"faults": {"bad_mask": "drop"}})
    assert sum(left.meta["counts"].values()) == 7


def test_boxes_alone_are_refused_before_work_starts(tmp_path: Path) -> None:
    data = folder(tmp_path, "1 0.5 0.5 0.25 0.25\n")
    said = "masks are drawn from polygons, but none of 8 objects has one; use task: detection"
    assert said in refused(data)
    ((key, reason),) = quick_look(workload(Task.SEGMENTATION, data)).faults
    assert key == "data.yolo"
    assert said in reason


def test_a_quick_look_knows_the_background(tmp_path: Path) -> None:
    look = quick_look(workload(Task.SEGMENTATION, folder(tmp_path, SQUARE)))
    assert look.faults == ()
    assert look.classes == ("background", "ape", "bee", "cow")


def test_the_same_file_serves_detection(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, folder(tmp_path, SQUARE), SIZE)
    assert held.classes == ("ape", "bee", "cow")
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[16, 8, 16, 16]]
