"""Semantic masks drawn from COCO JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import box, coco_folder, noise, prepared, workload

from trainables.data.coco import WIDER
from trainables.data.prepare import prepare_domain
from trainables.data.prepared import open_prepared
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.data.sources import read_source
from trainables.errors import DataError
from trainables.metrics.rules import MetricRules
from trainables.specs.data import DataSpec, Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(40, 60)


def polygon(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def drawn(
    image: int, *, category: int = 3, at: tuple[int, ...] = (4, 5, 12, 10), **more: Any
) -> dict[str, Any]:
    return box(image, list(at), category=category, segmentation=polygon(*at), **more)


def data_of(root: Path, annotations: list[dict[str, Any]], count: int = 8) -> dict[str, Any]:
    return {"coco": {"train": coco_folder(root, count, annotations=annotations)}}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(Task.SEGMENTATION, data)
    return str(error.value)


def test_masks_are_drawn_and_the_background_is_first(tmp_path: Path) -> None:
    objects = [drawn(i) for i in range(8)] + [drawn(i, category=7, at=(10, 8, 20, 4)) for i in range(8)]
    data = data_of(tmp_path, objects)
    held = prepared(Task.SEGMENTATION, data, SIZE)
    assert held.classes == ("background", "cat", "dog")
    expected = np.zeros((40, 60), np.uint8)
    expected[5:15, 4:16] = 1
    expected[8:12, 10:30] = 2
    for part in held.splits.values():
        for i in range(len(part)):
            assert (part.mask(i) == expected).all()
    assert held.meta["faults"] == []
    rules = MetricRules.of(workload(Task.SEGMENTATION, data), held.classes)
    assert rules.foreground(held.classes) == (1, 2)


def test_crowds_are_of_their_class_and_below_other_objects(tmp_path: Path) -> None:
    counts = [5 * 40, 10 * 40, 45 * 40]  # columns 5 to 14
    objects: list[dict[str, Any]] = [drawn(i) for i in range(8)]
    crowd = {"size": [40, 60], "counts": counts}
    objects += [box(i, [5, 0, 10, 40], category=7, segmentation=crowd, iscrowd=1) for i in range(8)]
    held = prepared(Task.SEGMENTATION, data_of(tmp_path, objects), SIZE)
    expected = np.zeros((40, 60), np.uint8)
    expected[:, 5:15] = 2
    expected[5:15, 4:16] = 1
    assert (held.splits[Split.TRAIN].mask(0) == expected).all()


def test_a_category_called_background_is_the_background(tmp_path: Path) -> None:
    data = data_of(
        tmp_path, [drawn(i) for i in range(8)] + [drawn(i, category=7, at=(4, 5, 6, 10)) for i in range(8)]
    )
    file = Path(data["coco"]["train"]["annotations"])
    file.write_text(file.read_text().replace('"dog"', '"Background"'))
    held = prepared(Task.SEGMENTATION, data, SIZE)
    assert held.classes == ("Background", "cat")
    assert held.splits[Split.TRAIN].mask(0)[5, 4:16].tolist() == [0] * 6 + [1] * 6


def test_two_polygons_in_one_box_are_two_objects(tmp_path: Path) -> None:
    lower = [[4, 5, 16, 15, 4, 15]]
    upper = [[4, 5, 16, 5, 16, 15]]
    objects = [box(i, [4, 5, 12, 10], segmentation=s) for i in range(8) for s in (lower, upper)]
    held = prepared(Task.SEGMENTATION, data_of(tmp_path, objects), SIZE)
    assert held.meta["faults"] == []
    assert (held.splits[Split.TRAIN].mask(0)[5:15, 4:16] == 1).mean() > 0.95


def test_an_image_without_objects_is_a_negative_example_where_that_is_kept(tmp_path: Path) -> None:
    data = data_of(tmp_path, [drawn(i) for i in range(7)])
    assert sum(prepared(Task.SEGMENTATION, data, SIZE).meta["counts"].values()) == 7
    kept = prepared(Task.SEGMENTATION, data | {"faults": {"empty_mask": "keep"}}, SIZE)
    assert sum(kept.meta["counts"].values()) == 8


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (box(3, [4, 5, 12, 10]), "annotation 8 has no polygon or mask, so its pixels are not known"),
        (drawn(3, category=99), "annotation 8 has a category that is not declared"),
        (
            box(3, [4, 5, 12, 10], segmentation={"size": [20, 30], "counts": [600]}),
            "it is 60×40 pixels, but objects have masks of 30×20",
        ),
    ],
)
def test_an_object_that_cannot_be_drawn_makes_a_bad_mask(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    data = data_of(tmp_path, [drawn(i) for i in range(8)] + [wrong])
    message = refused(data)
    assert f"image_003.png  bad_mask: {said}" in message
    left = prepared(Task.SEGMENTATION, data | {"faults": {"bad_mask": "drop"}})
    assert sum(left.meta["counts"].values()) == 7


def test_boxes_alone_are_refused_before_work_starts(tmp_path: Path) -> None:
    data = {"coco": {"train": coco_folder(tmp_path, 4)}}
    said = "none of 8 objects has one; use task: detection for boxes"
    assert said in refused(data)
    ((key, reason),) = quick_look(workload(Task.SEGMENTATION, data)).faults
    assert key == "data.coco.train"
    assert said in reason


def test_a_quick_look_knows_the_background(tmp_path: Path) -> None:
    look = quick_look(workload(Task.SEGMENTATION, data_of(tmp_path, [drawn(i) for i in range(8)])))
    assert look.faults == ()
    assert look.classes == ("background", "cat", "dog")


@pytest.mark.parametrize("stored", [True, False])
def test_polygons_of_turned_photos_are_turned_with_them(tmp_path: Path, stored: bool) -> None:
    data = data_of(tmp_path, [drawn(i) for i in range(8)])
    file = Path(data["coco"]["train"]["annotations"])
    held = json.loads(file.read_text())
    for i, image in enumerate(held["images"]):
        photo = noise(i, 40, 60)
        exif = photo.getexif()
        exif[0x0112] = 6  # stored 40×60 (height×width), upright 60×40
        photo.save(tmp_path / f"images/{i}.jpg", exif=exif)
        size = {"height": 40, "width": 60} if stored else {"height": 60, "width": 40}
        image.update({"file_name": f"{i}.jpg"} | size)
    file.write_text(json.dumps(held))
    mask = prepared(Task.SEGMENTATION, data, Resize.fixed(60, 40)).splits[Split.TRAIN].mask(0)
    expected = np.zeros((40, 60) if stored else (60, 40), np.uint8)
    expected[5:15, 4:16] = 1
    assert (mask == (np.rot90(expected, -1) if stored else expected)).all()


def test_a_domain_is_drawn_too(tmp_path: Path) -> None:
    data = data_of(tmp_path / "a", [drawn(i) for i in range(8)])
    far = coco_folder(tmp_path / "b", 2, annotations=[drawn(i, category=7) for i in range(2)])
    asked = workload(Task.SEGMENTATION, data | {"domains": {"far": {"coco": far}}})
    assert quick_look(asked).faults == ()
    classes = ("background", "cat", "dog")
    folder = prepare_domain(asked, "far", asked.data.domains["far"], classes, size=SIZE)
    assert open_prepared(folder).splits[Split.TEST].mask(0)[6, 5] == 2


def test_a_box_without_a_bbox_is_no_remark_where_masks_are_drawn(tmp_path: Path) -> None:
    objects = [box(i, None, segmentation=polygon(4, 5, 12, 10)) for i in range(8)]
    data = data_of(tmp_path, objects)
    assert prepared(Task.SEGMENTATION, data, SIZE).meta["warnings"] == ["no image shows this class: dog"]
    assert "have a polygon or mask but no bbox" in prepared(Task.DETECTION, data).meta["warnings"][0]


@pytest.mark.parametrize("more", [0, 1])
def test_boxes_a_pixel_larger_than_their_polygons_are_noticed(tmp_path: Path, more: int) -> None:
    objects = [box(i, [4, 5, 12 + more, 10 + more], segmentation=polygon(4, 5, 12, 10)) for i in range(8)]
    source = read_source(DataSpec.model_validate(data_of(tmp_path, objects)), Task.DETECTION)
    assert len(source.parts[Split.TRAIN].tally.names().get(WIDER, [])) == 8 * more
