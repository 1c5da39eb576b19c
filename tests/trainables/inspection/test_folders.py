from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_makers import coco_folder, mask_folder
from PIL import Image

from trainables.errors import DataError
from trainables.inspection.folders import split_of, subject_of_folder
from trainables.inspection.inspection import inspect_data
from trainables.specs.data import Split
from trainables.specs.workload import Task


def test_one_coco_file_with_its_images(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 3)
    (tmp_path / "notes.json").write_text('{"images": 3}')
    (tmp_path / "broken.json").write_text("{")
    subject = subject_of_folder(tmp_path)
    assert subject.task is Task.DETECTION
    assert subject.data.coco is not None
    assert subject.data.coco.train.model_dump() == part
    assert subject.data.coco.validation is None
    assert subject.notes[0] == "found: COCO JSON: train annotations_0.json"


def test_parts_by_the_names_of_files_or_folders(tmp_path: Path) -> None:
    for i, name in enumerate(("train", "valid", "test")):
        coco_folder(tmp_path / name, 2, start=10 * i)
    coco = subject_of_folder(tmp_path).data.coco
    assert coco is not None
    assert coco.validation is not None
    assert coco.test is not None
    assert Path(coco.validation.images) == tmp_path / "valid" / "images"
    assert not inspect_data(subject_of_folder(tmp_path)).findings


def test_coco_as_it_is_published(tmp_path: Path) -> None:
    """`annotations/instances_val2017.json` next to `train2017` and `val2017`."""
    (tmp_path / "annotations").mkdir()
    for i, name in enumerate(("train", "val")):
        part = coco_folder(tmp_path / name, 2, start=10 * i)
        shutil.move(part["annotations"], tmp_path / "annotations" / f"instances_{name}2017.json")
        shutil.move(part["images"], tmp_path / f"{name}2017")
    subject = subject_of_folder(tmp_path)
    assert subject.data.coco is not None
    assert Path(subject.data.coco.train.images) == tmp_path / "train2017"
    assert not inspect_data(subject).findings


def test_a_file_of_another_part_alone_is_taken_for_training(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 6)
    os.rename(part["annotations"], tmp_path / "instances_test.json")
    subject = subject_of_folder(tmp_path)
    assert subject.data.coco is not None
    assert subject.data.coco.test is None
    assert subject.notes[0] == "found: COCO JSON: train instances_test.json"


def test_two_files_of_one_part(tmp_path: Path) -> None:
    coco_folder(tmp_path, 2)
    coco_folder(tmp_path, 2, start=2)
    subject = subject_of_folder(tmp_path)
    assert "annotations_2.json is COCO JSON too" in subject.notes[1]


def test_images_and_masks_with_classes_by_their_values(tmp_path: Path) -> None:
    mask_folder(tmp_path, 3)
    subject = subject_of_folder(tmp_path)
    masks = subject.data.masks
    assert masks is not None
    assert (masks.classes, masks.ignore) == (("background", "foreground"), None)
    assert not inspect_data(subject).findings


def test_black_and_white_and_ignored_values(tmp_path: Path) -> None:
    mask_folder(tmp_path, 2)
    values = np.zeros((40, 40), np.uint8)
    values[:9] = 255
    for i in range(2):
        Image.fromarray(values).save(tmp_path / "masks" / f"cell_{i:03d}.png")
    masks = subject_of_folder(tmp_path).data.masks
    assert masks is not None
    assert (masks.values, masks.ignore) == ((0, 255), None)
    values[:4] = 3
    Image.fromarray(values).save(tmp_path / "masks" / "cell_000.png")
    masks = subject_of_folder(tmp_path).data.masks
    assert masks is not None
    assert (masks.values, masks.ignore) == ((0, 3), 255)


@pytest.mark.parametrize("by_part", [True, False], ids=["train/images", "images/train"])
def test_masks_in_parts(tmp_path: Path, by_part: bool) -> None:
    for name in ("train", "val"):
        part = mask_folder(tmp_path / "made" / name, 2)
        for kind in ("images", "masks"):
            to = tmp_path / "set" / name / kind if by_part else tmp_path / "set" / kind / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(part[kind], to)
    masks = subject_of_folder(tmp_path / "set").data.masks
    assert masks is not None
    assert masks.validation is not None
    assert set(Path(masks.validation.images).parts[-2:]) == {"images", "val"}


def test_both_kinds_are_told_apart_by_the_task(tmp_path: Path) -> None:
    mask_folder(tmp_path, 3)
    listed = [{"id": i, "file_name": f"cell_{i:03d}.jpg"} for i in range(3)]
    file = {"images": listed, "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "instances.json").write_text(json.dumps(file))
    subject = subject_of_folder(tmp_path)
    assert subject.task is Task.DETECTION
    assert "it may fit task segmentation, too: `--task segmentation`" in subject.notes
    assert subject_of_folder(tmp_path, task=Task.SEGMENTATION).data.masks is not None


def test_nothing_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"must hold COCO JSON, .* it holds a.txt"):
        subject_of_folder(tmp_path)
    with pytest.raises(DataError, match="must be a folder that can be listed: Not a directory"):
        subject_of_folder(tmp_path / "a.txt")


def test_a_saved_data_set_of_the_hub_is_to_be_declared(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DataError, match=r"as data\.hub: it is a data set of `datasets`"):
        subject_of_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017.json", Split.TRAIN),
        ("valid", Split.VALIDATION),
        ("_annotations.coco.json", None),
        ("TEST", Split.TEST),
        ("latest", None),
    ],
)
def test_words_for_parts(name: str, split: Split | None) -> None:
    assert split_of((name,)) is split
