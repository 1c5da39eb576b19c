from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import prepared, workload
from format_makers import scenes
from PIL import Image

from trainables.data.prepare import fingerprint, prepare_domain
from trainables.data.prepared import open_prepared
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(32, 64)


def shape(label: str, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more


RECTANGLE = shape("bee", [[40, 20], [30, 4]], "rectangle")
POLYGON = shape("ape", [[16, 8], [32, 8], [32, 24], [16, 24]])


def file_of(path: Path, image: str, shapes: list[Any], **more: Any) -> None:
    held = {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None,
        "imageHeight": 32, "imageWidth": 64,
    } | more  # fmt: skip
    path.write_text(json.dumps(held))


def folder(root: Path, shapes: list[Any], count: int = 8, **more: Any) -> dict[str, Any]:
    for scene in scenes(0, count):
        scene.save(root)
        file_of(root / f"{scene.number:03d}.json", scene.name, shapes)
    return {"labelme": {"train": {"folder": str(root)}} | more}


def refused(task: Task, data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(task, data)
    return str(error.value)


def looked(task: Task, data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return quick_look(workload(task, data)).faults


def test_boxes_around_shapes(tmp_path: Path) -> None:
    circle = shape("cow", [[50, 16], [50, 20]], "circle")
    data = folder(tmp_path, [RECTANGLE, POLYGON, circle])
    held = prepared(Task.DETECTION, data, SIZE)
    assert held.classes == ("ape", "bee", "cow")
    train = held.splits[Split.TRAIN]
    assert train.boxes(0).tolist() == [[30, 4, 10, 16], [16, 8, 16, 16], [46, 12, 8, 8]]
    assert train.labels(0).tolist() == [1, 0, 2]
    assert held.meta["faults"] == held.meta["warnings"] == []


def test_masks_are_drawn_later_shapes_over_earlier_ones(tmp_path: Path) -> None:
    held = prepared(Task.SEGMENTATION, folder(tmp_path, [RECTANGLE, POLYGON]), SIZE)
    assert held.classes == ("background", "ape", "bee")
    expected = np.zeros((32, 64), np.uint8)
    expected[4:20, 30:40] = 2
    expected[8:24, 16:32] = 1
    assert (held.splits[Split.TRAIN].mask(0) == expected).all()


def test_a_circle_is_round(tmp_path: Path) -> None:
    held = prepared(Task.SEGMENTATION, folder(tmp_path, [shape("cow", [[32, 16], [32, 26]], "circle")]), SIZE)
    rows, columns = np.mgrid[0:32, 0:64] + 0.5
    inside = (rows - 16) ** 2 + (columns - 32) ** 2 <= 100
    assert ((held.splits[Split.TRAIN].mask(0) == 1) != inside).mean() < 0.02


def test_a_mask_within_its_box_is_placed(tmp_path: Path) -> None:
    inside = np.zeros((5, 7), np.uint8)
    inside[1:, 2:] = 1
    file = io.BytesIO()
    Image.fromarray(inside * 255).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    shapes = [shape("cow", [[10, 20], [16, 24]], "mask", mask=text)]
    held = prepared(Task.SEGMENTATION, folder(tmp_path / "a", shapes), SIZE)
    expected = np.zeros((32, 64), np.uint8)
    expected[21:25, 12:17] = 1
    assert (held.splits[Split.TRAIN].mask(0) == expected).all()
    boxes = prepared(Task.DETECTION, folder(tmp_path / "b", shapes), SIZE).splits[Split.TRAIN].boxes(0)
    assert boxes.tolist() == [[12, 21, 5, 4]]


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    halves = [
        shape("ape", [[2, 2], [6, 6]], "rectangle", group_id=1),
        shape("ape", [[20, 10], [30, 12]], "rectangle", group_id=1),
        shape("bee", [[2, 20], [6, 26]], "rectangle", group_id=1),
    ]
    held = prepared(Task.DETECTION, folder(tmp_path / "a", halves), SIZE)
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[2, 2, 28, 10], [2, 20, 4, 6]]
    mask = prepared(Task.SEGMENTATION, folder(tmp_path / "b", halves), SIZE).splits[Split.TRAIN].mask(0)
    assert (mask == 1).sum() == 16 + 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (shape("ape", [[1, 1], [5, 5]], "line"), "shapes[1] is a line of 2 points, which has no area"),
        (shape("ape", [[1, 1]], "point"), "shapes[1] is a point of 1 points, which has no area"),
        (shape("ape", [[1, 1], ["x", 5], [2, 2]]), "shapes[1] has points that are no numbers"),
        (shape("ape", None), "shapes[1] has points that are no numbers"),
        (shape("ape", [[1, 1], [2, 2], [3, 1]], kind=[1]), "shapes[1] is a [1] of 3 points"),  # type: ignore[arg-type]
        (shape("ape", [[1, 1], [5, 5]], "line", group_id=[1]), "shapes[1] is a line of 2 points"),
        (shape("ape", [[1, 1], [2, 2]], "mask", mask="!"), "shapes[1] has a mask that is no PNG in base64"),
    ],
)
def test_a_shape_without_an_area_is_listed(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    data = folder(tmp_path / "set", [POLYGON])
    file_of(tmp_path / "set/003.json", "003.png", [POLYGON, wrong])
    held = prepared(Task.DETECTION, data)
    (fault,) = held.meta["faults"]
    assert fault["fault"] == "bad_box"
    assert said in fault["detail"]
    assert sum(held.meta["boxes"].values()) == 8
    assert f"003.png  bad_mask: {said}" in refused(Task.SEGMENTATION, data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "annotations must be JSON files of LabelMe, but"),
        ("[]", "has no shapes and imagePath"),
        ('{"images": []}', "has no shapes and imagePath"),
        ('{"shapes": [{}], "imagePath": "a.png"}', "shapes[0].label must be a class's name, got null"),
        ('{"shapes": [3], "imagePath": "a.png"}', "shapes[0].label must be a class's name, got null"),
    ],
)
def test_what_is_no_labelme_file_is_refused_before_work_starts(tmp_path: Path, text: str, said: str) -> None:
    data = folder(tmp_path, [POLYGON])
    (tmp_path / "003.json").write_text(text)
    assert said in refused(Task.DETECTION, data)
    ((key, reason),) = looked(Task.DETECTION, data)
    assert key == "data.labelme.train"
    assert said in reason


def test_the_image_is_where_the_file_says_or_beside_it(tmp_path: Path) -> None:
    data = folder(tmp_path / "set/json", [POLYGON])
    (tmp_path / "set/images").mkdir()
    (tmp_path / "set/json/001.png").rename(tmp_path / "set/images/one.png")
    file_of(tmp_path / "set/json/001.json", "..\\images\\one.png", [POLYGON])
    file_of(tmp_path / "set/json/002.json", "C:\\photos\\x.png", [POLYGON])
    assert sum(prepared(Task.DETECTION, data).meta["counts"].values()) == 8
    (tmp_path / "set/json/002.png").unlink()
    assert "missing_file: there is no file" in refused(Task.DETECTION, data)
    assert "1 of the first 8 images cannot be found" in looked(Task.DETECTION, data)[0][1]


def test_images_without_a_file_are_left_out_and_told_of(tmp_path: Path) -> None:
    data = folder(tmp_path, [POLYGON], 9)
    (tmp_path / "003.json").unlink()
    file_of(tmp_path / "004.json", "004.png", [])
    held = prepared(Task.DETECTION, data)
    assert sum(held.meta["counts"].values()) == 8
    assert sum(held.meta["boxes"].values()) == 7
    assert "data.labelme.train: 1 image without a JSON file, left out" in held.meta["warnings"][0]


def test_classes_can_be_declared_and_the_background_among_them(tmp_path: Path) -> None:
    data = folder(tmp_path / "set", [POLYGON], classes=["zebu", "ape"])
    assert prepared(Task.DETECTION, data).classes == ("zebu", "ape")
    data["labelme"]["classes"] = ["ape", "background"]
    assert prepared(Task.SEGMENTATION, data).classes == ("background", "ape")
    data["labelme"]["classes"] = ["bee"]
    assert "data.labelme.classes must name all labels, but some are ape" in refused(Task.DETECTION, data)


def test_no_folder_or_no_file_is_refused(tmp_path: Path) -> None:
    missing = {"labelme": {"train": {"folder": str(tmp_path / "none")}}}
    assert "data.labelme.train.folder must be a folder" in refused(Task.DETECTION, missing)
    empty = {"labelme": {"train": {"folder": str(tmp_path)}}}
    assert "data.labelme.train.folder must hold JSON files of LabelMe" in refused(Task.DETECTION, empty)


def test_another_size_than_declared_is_an_unreadable_image(tmp_path: Path) -> None:
    data = folder(tmp_path, [POLYGON])
    file_of(tmp_path / "003.json", "003.png", [POLYGON], imageHeight=320, imageWidth=640)
    (fault,) = prepared(Task.DETECTION, data).meta["faults"]
    assert "it is 64×32 pixels but annotated as 640×320" in fault["detail"]


def test_the_fingerprint_is_of_the_files_wherever_they_are(tmp_path: Path) -> None:
    names = [
        fingerprint(workload(Task.DETECTION, folder(tmp_path / place, [POLYGON])), SIZE)
        for place in ("a", "b")
    ]
    assert names[0] == names[1]
    data = folder(tmp_path / "b", [POLYGON])
    file_of(tmp_path / "b/003.json", "003.png", [RECTANGLE])
    assert fingerprint(workload(Task.DETECTION, data), SIZE) != names[0]


def test_files_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    for place in ("set/a", "set/b"):
        folder(tmp_path / place, [POLYGON], 4)
    data = {"labelme": {"train": {"folder": str(tmp_path / "set")}}}
    before = fingerprint(workload(Task.DETECTION, data), SIZE)
    assert sum(prepared(Task.DETECTION, data).meta["counts"].values()) == 8
    file_of(tmp_path / "set/a/001.json", "001.png", [RECTANGLE])
    changed = fingerprint(workload(Task.DETECTION, data), SIZE)
    file_of(tmp_path / "set/a/001.json", "001.png", [POLYGON])
    file_of(tmp_path / "set/b/001.json", "001.png", [RECTANGLE])
    assert len({before, changed, fingerprint(workload(Task.DETECTION, data), SIZE)}) == 3


def test_a_domain_has_the_classes_of_the_data(tmp_path: Path) -> None:
    data = folder(tmp_path / "a", [POLYGON, RECTANGLE])
    far = folder(tmp_path / "b", [RECTANGLE], 2)["labelme"]["train"]
    asked = workload(Task.DETECTION, data | {"domains": {"far": {"labelme": far}}})
    assert quick_look(asked).faults == ()
    made = prepare_domain(asked, "far", asked.data.domains["far"], ("ape", "bee"), size=SIZE)
    assert open_prepared(made).splits[Split.TEST].labels(0).tolist() == [1]
