"""In which form a hub data set gives its boxes: declared, or shown by areas and sizes, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from data_makers import noise, prepared, workload

from trainables.data.evidence import BoxForm
from trainables.data.formats.hub_form import judged
from trainables.data.prepare import fingerprint, prepare_data
from trainables.data.prepared import open_prepared
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import HubBoxes, Split
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import Task

Boxes = Sequence[Sequence[float]]
SIDES: Boxes = [[30.0, 12.0, 14.0, 9.0], [6.0, 20.0, 20.0, 6.0]]
"""[x, y, width, height]; the first has no extent as corners."""
SIZE = Resize.fixed(40, 60)


def corners(boxes: Boxes) -> list[list[float]]:
    return [[x, y, x + w, y + h] for x, y, w, h in boxes]


def saved(
    root: Path,
    boxes: Boxes,
    *,
    areas: list[float] | None = None,
    sizes: bool = False,
    count: int = 12,
    column: str = "image",
) -> dict[str, Any]:
    """Case 06 of the shared cases: `count` images of 60×40 with the same boxes each; a `data` section."""
    root.mkdir(exist_ok=True)
    rows = []
    for i in range(count):
        noise(i).save(root / f"{i}.png")
        objects: dict[str, Any] = {"bbox": boxes, "category": [i % 2 for i in range(len(boxes))]}
        if areas is not None:
            objects["area"] = areas
        row = {column: str(root / f"{i}.png"), "image_id": i, "objects": objects}
        rows.append(row | ({"width": 60, "height": 40} if sizes else {}))
    inside: dict[str, Any] = {
        "bbox": datasets.List(datasets.List(datasets.Value("float64"), 4)),
        "category": datasets.List(datasets.ClassLabel(names=["a", "b"])),
    }
    if areas is not None:
        inside["area"] = datasets.List(datasets.Value("float64"))
    features: dict[str, Any] = {
        column: datasets.Image(), "image_id": datasets.Value("int64"), "objects": inside
    }  # fmt: skip
    if sizes:
        features |= {"width": datasets.Value("int64"), "height": datasets.Value("int64")}
    table = datasets.Dataset.from_list(rows, datasets.Features(features))
    datasets.DatasetDict({"train": table}).save_to_disk(root / "saved")
    return {"hub": {"path": str(root / "saved")}}


def boxes_of(data: dict[str, Any]) -> list[list[list[float]]]:
    held = prepared(Task.DETECTION, data, SIZE)
    assert held.meta["faults"] == []
    return [part.boxes(i).tolist() for part in held.splits.values() for i in range(len(part))]


@pytest.mark.parametrize("areas", [None, [126.0, 120.0], [70.0, 80.0]], ids=["none", "boxes", "polygons"])
@pytest.mark.parametrize("sizes", [True, False])
def test_boxes_with_sides_are_read_where_areas_or_sizes_show_them(
    tmp_path: Path, areas: list[float] | None, sizes: bool
) -> None:
    """The two data sets of case 06: 24 boxes, with areas of polygons and without."""
    found = boxes_of(saved(tmp_path, SIDES, areas=areas, sizes=sizes))
    assert found == [list(map(list, SIDES))] * 12


@pytest.mark.parametrize("areas", [None, [126.0, 120.0], [70.0, 80.0]], ids=["none", "boxes", "polygons"])
@pytest.mark.parametrize("sizes", [True, False])
def test_corners_are_read_where_areas_or_sizes_show_them(
    tmp_path: Path, areas: list[float] | None, sizes: bool
) -> None:
    """Without columns for them, sizes are read from the images."""
    found = boxes_of(saved(tmp_path, corners(SIDES), areas=areas, sizes=sizes))
    assert found == [list(map(list, SIDES))] * 12


BOTH: Boxes = [[4.0, 5.0, 16.0, 15.0], [2.0, 3.0, 20.0, 10.0]]
"""Boxes that lie in their images in both forms."""


def test_what_nothing_shows_is_an_error_that_says_how_to_declare_it(tmp_path: Path) -> None:
    data = saved(tmp_path, BOTH)
    said = (
        "as both, 24 of 24 lie in their images, and no areas tell; look at some, and set "
        "data.hub.boxes to xyxy or xywh"
    )
    with pytest.raises(DataError, match=said):
        prepared(Task.DETECTION, data)
    ((key, reason),) = quick_look(workload(Task.DETECTION, data)).faults
    assert key == "data.hub"
    assert "set data.hub.boxes to xyxy or xywh" in reason


@pytest.mark.parametrize("form", ["xywh", "xyxy"])
def test_what_is_declared_counts(tmp_path: Path, form: str) -> None:
    data = saved(tmp_path, BOTH)
    data["hub"]["boxes"] = form
    first = boxes_of(data)[0]
    assert first == (list(map(list, BOTH)) if form == "xywh" else [[4, 5, 12, 10], [2, 3, 18, 7]])


@pytest.mark.parametrize(
    ("form", "boxes", "way_out"),
    [("xyxy", SIDES, "set data.hub.boxes: xywh"), ("xywh", corners(SIDES), "set data.hub.boxes: xyxy")],
)
def test_what_is_declared_must_not_be_clearly_wrong(
    tmp_path: Path, form: str, boxes: Boxes, way_out: str
) -> None:
    data = saved(tmp_path, boxes, areas=[126.0, 120.0])
    data["hub"]["boxes"] = form
    with pytest.raises(DataError, match=way_out):
        prepared(Task.DETECTION, data)


def test_shares_are_refused_in_either_form(tmp_path: Path) -> None:
    data = saved(tmp_path, [[0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.3]])
    with pytest.raises(DataError, match="lie within 0 to 1, as shares of the image do"):
        prepared(Task.DETECTION, data)


def test_an_old_experiment_reads_corners_and_has_its_old_fingerprint(tmp_path: Path) -> None:
    asked = workload(Task.DETECTION, saved(tmp_path, BOTH))
    old = asked.model_copy(update={"definitions": BEFORE.model_copy(update={"fingerprint": 2, "coco": 2})})
    held = open_prepared(prepare_data(old, size=SIZE))
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[4, 5, 12, 10], [2, 3, 18, 7]]
    hub = asked.data.hub
    assert hub is not None
    declared = asked.data.model_copy(update={"hub": hub.model_copy(update={"boxes": HubBoxes.XYXY})})
    assert fingerprint(asked.model_copy(update={"data": declared}), SIZE) == held.meta["fingerprint"]
    assert fingerprint(asked, SIZE) != held.meta["fingerprint"]


def test_the_column_of_images_is_found_or_declared(tmp_path: Path) -> None:
    data = saved(tmp_path, SIDES, column="photograph")
    assert len(boxes_of(data)) == 12
    data["hub"]["image"] = "picture"
    with pytest.raises(DataError, match=r"there is no column picture; such columns are photograph"):
        prepared(Task.DETECTION, data)
    data["hub"]["image"] = "image_id"
    with pytest.raises(DataError, match="column image_id is Value"):
        prepared(Task.DETECTION, data)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (BoxForm(count=24, fit=3, fit_otherwise=24), HubBoxes.XYWH),
        (BoxForm(count=24, fit=24, fit_otherwise=3), HubBoxes.XYXY),
        (BoxForm(count=24, fit=24, fit_otherwise=24), None),
        (BoxForm(count=1000, fit=1000, fit_otherwise=990), None),
        (BoxForm(count=1000, fit=995, fit_otherwise=500), HubBoxes.XYXY),
        (BoxForm(count=24, fit=24, fit_otherwise=24, told=24, agree=1), HubBoxes.XYXY),
        (BoxForm(count=24, fit=24, fit_otherwise=24, told=24, agree_otherwise=20, agree=1), HubBoxes.XYWH),
        (BoxForm(count=24, fit=24, fit_otherwise=3, told=24, agree_otherwise=2, agree=2), None),
        (BoxForm(), None),
    ],
)
def test_areas_count_before_sizes_and_a_few_careless_boxes_do_not(
    counts: BoxForm, expected: HubBoxes | None
) -> None:
    assert judged(counts) is expected
