"""A folder that is given alone: what lies there is found and said, or an error lists it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import coco_folder, mask_folder, noise, prepared, workload
from format_makers import CLASSES, as_coco, as_voc, as_yolo, parts_of, scenes, voc_xml
from PIL import Image

from trainables.data.formats.folder import found_data
from trainables.data.prepare import fingerprint
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.data.sources import read_source
from trainables.errors import DataError
from trainables.specs.data import DataSpec, Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(32, 64)


def found(root: Path, task: Task = Task.DETECTION) -> tuple[dict[str, Any], str]:
    """What stands for the folder: the section's source, with paths below the folder, and the words."""
    given = found_data(DataSpec(folder=str(root)), task)
    source = given.data.source.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    text = json.dumps({given.data.kind: source}).replace(f"{root}/", "").replace(str(root), ".")
    return json.loads(text), given.said


def refused(root: Path, task: Task = Task.DETECTION) -> str:
    with pytest.raises(DataError) as error:
        found_data(DataSpec(folder=str(root)), task)
    return str(error.value)


Maker = Callable[[Path, dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize("make", [as_coco, as_yolo, as_voc], ids=["coco", "yolo", "voc"])
def test_a_folder_is_the_same_data_as_its_declaration(tmp_path: Path, make: Maker) -> None:
    declared = make(tmp_path / "set", parts_of())
    alone = {"folder": str(tmp_path / "set")}
    names = [fingerprint(workload(Task.DETECTION, data), SIZE) for data in (declared, alone)]
    assert names[0] == names[1]
    held = prepared(Task.DETECTION, alone, SIZE)
    assert held.classes == CLASSES
    assert held.meta["counts"] == {"train": 8, "validation": 4, "test": 3}
    source = read_source(DataSpec(folder=str(tmp_path / "set")), Task.DETECTION)
    assert source.found.startswith(
        {"coco": "COCO JSON", "yolo": "YOLO", "voc": "Pascal VOC"}[next(iter(declared))]
    )
    look = quick_look(workload(Task.DETECTION, alone))
    assert look.faults == ()
    assert look.found == source.found


def coco_at(root: Path, images: str, file: str, start: int, outlined: bool = False) -> None:
    part = coco_folder(root / "made", 2, start=start)
    (root / images).mkdir(parents=True, exist_ok=True)
    held = json.loads(Path(part["annotations"]).read_text())
    for image in held["images"]:
        shutil.move(root / "made/images" / image["file_name"], root / images / image["file_name"])
    for each in held["annotations"] if outlined else ():
        each["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(held))
    shutil.rmtree(root / "made")


LAYOUTS = {
    "COCO's archive": [
        ("train2017", "annotations/instances_train2017.json"),
        ("val2017", "annotations/instances_val2017.json"),
    ],
    "Roboflow": [("train", "train/_annotations.coco.json"), ("valid", "valid/_annotations.coco.json")],
    "files in the root": [("images", "instances_train.json"), ("images", "instances_val.json")],
    "images by split": [("images/train", "train.json"), ("images/val", "val.json")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_coco_json_in_each_usual_layout(tmp_path: Path, layout: str) -> None:
    (train, train_file), (val, val_file) = LAYOUTS[layout]
    coco_at(tmp_path, train, train_file, 0)
    coco_at(tmp_path, val, val_file, 10)
    source, said = found(tmp_path)
    assert source == {
        "coco": {
            "train": {"images": train, "annotations": train_file},
            "validation": {"images": val, "annotations": val_file},
        }
    }
    assert said.startswith("COCO JSON: train ")


def test_files_of_coco_that_hold_no_objects_do_not_count(tmp_path: Path) -> None:
    coco_at(tmp_path, "train2017", "annotations/instances_train2017.json", 0)
    keypoints = tmp_path / "annotations/person_keypoints_train2017.json"
    shutil.copy(tmp_path / "annotations/instances_train2017.json", keypoints)
    (tmp_path / "annotations/captions_train2017.json").write_text('{"images": [], "annotations": []}')
    assert found(tmp_path)[0]["coco"]["train"]["annotations"] == "annotations/instances_train2017.json"


def test_one_file_is_train_and_the_others_are_split_off(tmp_path: Path) -> None:
    coco_at(tmp_path, "photos", "labels.json", 0)
    assert found(tmp_path)[0] == {"coco": {"train": {"images": "photos", "annotations": "labels.json"}}}


def test_two_files_of_one_split_are_an_error_that_names_them(tmp_path: Path) -> None:
    coco_at(tmp_path, "photos", "a.json", 0)
    coco_at(tmp_path, "photos", "b.json", 10)
    message = refused(tmp_path)
    assert "it needs train could be a.json or b.json; declare it, such as" in message
    assert '"annotations": "' in message


def test_images_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    coco_at(tmp_path, "photos", "train.json", 0)
    shutil.rmtree(tmp_path / "photos")
    assert "it needs the images that train.json lists, such as image_000.png" in refused(tmp_path)


def test_roboflows_voc_has_xml_beside_images(tmp_path: Path) -> None:
    for part, given in (("train", scenes(0, 4)), ("valid", scenes(4, 2))):
        for scene in given:
            scene.save(tmp_path / part)
            (tmp_path / part / f"{scene.number:03d}.xml").write_text(voc_xml(scene))
    assert found(tmp_path)[0] == {
        "voc": {
            "train": {"images": "train", "annotations": "train"},
            "validation": {"images": "valid", "annotations": "valid"},
        }
    }


def test_labelme_in_one_folder_or_by_split(tmp_path: Path) -> None:
    def labelme(folder: Path, first: int) -> None:
        for scene in scenes(first, 3):
            scene.save(folder)
            shapes = [{"label": "ape", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}]
            held = {"shapes": shapes, "imagePath": scene.name, "imageHeight": 32, "imageWidth": 64}
            (folder / f"{scene.number:03d}.json").write_text(json.dumps(held))

    labelme(tmp_path / "a", 0)
    assert found(tmp_path / "a") == (
        {"labelme": {"train": {"folder": "."}}}, "LabelMe: 3 files of train"
    )  # fmt: skip
    labelme(tmp_path / "b/train", 0)
    labelme(tmp_path / "b/val", 5)
    assert found(tmp_path / "b")[0] == {
        "labelme": {"train": {"folder": "train"}, "validation": {"folder": "val"}}
    }


@pytest.mark.parametrize("white", [1, 255])
def test_masks_of_two_values_are_background_and_foreground(tmp_path: Path, white: int) -> None:
    part = mask_folder(tmp_path, 6)
    for path in Path(part["masks"]).iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(white)).save(path)
    source, said = found(tmp_path, Task.SEGMENTATION)
    assert source["masks"]["train"] == {"images": "images", "masks": "masks"}
    assert source["masks"]["classes"] == ["background", "foreground"]
    assert source["masks"].get("values") == ([0, 255] if white == 255 else None)
    assert said.endswith(f"masks hold the values 0, {white}, which are background and foreground")
    held = prepared(Task.SEGMENTATION, {"folder": str(tmp_path)})
    assert held.classes == ("background", "foreground")


@pytest.mark.parametrize("layout", ["images/train", "train/images"])
def test_masks_by_split_with_a_file_of_names(tmp_path: Path, layout: str) -> None:
    for split in ("train", "val"):
        part = mask_folder(tmp_path / "made", 3)
        for kind in ("images", "masks"):
            place = tmp_path / "set" / layout.replace("train", split).replace("images", kind)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(part[kind], place)
        shutil.rmtree(tmp_path / "made")
    (tmp_path / "set/classes.txt").write_text("ground\ncell\n")
    source, _ = found(tmp_path / "set", Task.SEGMENTATION)
    assert source["masks"]["classes"] == ["ground", "cell"]
    assert source["masks"]["validation"]["masks"] == layout.replace("train", "val").replace("images", "masks")


def test_masks_of_more_values_need_names(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 3)
    Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40) % 7).save(
        Path(part["masks"]) / "cell_000.png"
    )
    message = refused(tmp_path, Task.SEGMENTATION)
    assert "masks hold the values 0, 1, 2, 3, 4, 5, 6, but it needs the classes of these values" in message
    assert 'data: {"masks": {"train": {"images": "' in message


def test_several_formats_are_an_error_that_lists_a_declaration_for_each(tmp_path: Path) -> None:
    as_yolo(tmp_path, parts_of())
    as_coco(tmp_path, parts_of())
    message = refused(tmp_path)
    assert "holds data in several formats; declare the one that is meant in its place" in message
    assert 'data: {"yolo": {"file": "' in message
    assert 'data: {"coco": {"train": {"images": "' in message
    ((key, reason),) = quick_look(workload(Task.DETECTION, {"folder": str(tmp_path)})).faults
    assert key == "data.folder"
    assert "in several formats" in reason


def test_boxes_beside_masks_are_told_apart_by_the_task(tmp_path: Path) -> None:
    """As in the folders of dsb2018."""
    mask_folder(tmp_path, 3)
    coco_at(tmp_path, "images", "instances_bbox_coco.json", 20)
    assert next(iter(found(tmp_path, Task.SEGMENTATION)[0])) == "masks"
    assert next(iter(found(tmp_path)[0])) == "coco"
    coco_at(tmp_path, "images", "instances_bbox_coco.json", 20, outlined=True)
    assert "in several formats" in refused(tmp_path, Task.SEGMENTATION)


def test_nothing_known_is_an_error_that_lists_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        noise(i).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "notes.txt").write_text("x")
    message = refused(tmp_path)
    assert (
        "but none was found; it holds 3 .png, 1 .txt in 1 folder (photos). Declare what it is: data.coco"
        in message
    )
    (tmp_path / "empty").mkdir()
    assert "it holds no files" in refused(tmp_path / "empty")
    assert "data.folder must be a folder, but there is none at" in refused(tmp_path / "none")


def test_data_for_another_task_are_named(tmp_path: Path) -> None:
    mask_folder(tmp_path, 3)
    assert "none was found; for another task there is image and mask folders: train" in refused(tmp_path)


def test_settings_of_the_data_stay(tmp_path: Path) -> None:
    as_coco(tmp_path, {"train": scenes(0, 20)})
    data = {"folder": str(tmp_path), "splits": {"train": 0.5, "validation": 0.5, "test": 0.0}}
    held = prepared(Task.DETECTION, data, SIZE)
    assert held.meta["counts"] == {"train": 10, "validation": 10, "test": 0}


def test_a_domain_must_be_of_the_format_that_was_found(tmp_path: Path) -> None:
    data = as_coco(tmp_path / "a", parts_of())
    other = as_coco(tmp_path / "b", {"train": scenes(40, 2)})["coco"]["train"]
    alone = {"folder": str(tmp_path / "a"), "domains": {"far": {"coco": other}}}
    assert quick_look(workload(Task.DETECTION, alone)).faults == ()
    assert next(iter(data)) == "coco"
    wrong = {"folder": str(tmp_path / "a"), "domains": {"far": {"yolo": {"file": "x"}}}}
    faults = dict(quick_look(workload(Task.DETECTION, wrong)).faults)
    assert (
        "is of kind yolo, but it must have the classes of the data, which is coco"
        in faults["data.domains.far"]
    )


def test_real_folders(shared: Path) -> None:
    assert found(shared / "bccd")[1] == (
        "COCO JSON: train instances_train.json, validation instances_val.json, test instances_test.json"
    )
    source, said = found(shared / "dsb2018/fluo_256", Task.SEGMENTATION)
    assert source["masks"]["train"] == {"images": "images", "masks": "masks"}
    assert "background and foreground" in said
    assert found(shared / "dsb2018/fluo_256")[1].startswith("COCO JSON")


def test_splits_are_words_of_names() -> None:
    from trainables.data.formats.folder_files import split_of

    assert split_of("instances_val2017.json") is Split.VALIDATION
    assert split_of("trainer.json") is None
    assert split_of("my-test-set/train") is Split.TRAIN


def test_yolo_labels_without_a_data_yaml_need_one(tmp_path: Path) -> None:
    as_yolo(tmp_path, parts_of())
    (tmp_path / "data.yaml").unlink()
    message = refused(tmp_path)
    assert "holds YOLO labels in labels/test, labels/train, labels/val without data.yaml" in message
    assert "but it needs a data.yaml that names train and the classes" in message
