from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_makers import box, coco_folder, mask_folder, workload

from trainables.inspection.coco_signs import coco_signs
from trainables.specs.workload import Task


def said(tmp_path: Path, **changes: Any) -> str:
    """The signs of a file of 4 images, some of whose lists are changed."""
    part = coco_folder(tmp_path, 4)
    path = Path(part["annotations"])
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    data = workload(Task.DETECTION, {"coco": {"train": part}}).data
    return "\n".join(sign.text for sign in coco_signs(data))


def test_a_sound_file_shows_only_its_gaps(tmp_path: Path) -> None:
    assert said(tmp_path) == (
        "train: ids of categories have gaps: 2 categories from 3 to 7, without 4, 5, 6; that is valid here, "
        "but a converter that writes such ids as class numbers makes classes that do not exist\n"
        "train: an annotation has id 0, which pycocotools takes for no match; here it counts as any other"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"iscrowd": "0"}, 'annotations[].iscrowd is written as text in 1 of 1 entries, such as "0"'),
        ({"image_id": "1"}, "annotations[].image_id is written as text in 1 of 1"),
        ({"category_id": 3.0}, "annotations[].category_id is written as fractions in 1 of 1"),
        ({"iscrowd": 1}, "1 of 1 annotation are crowds"),
        ({"bbox": []}, "1 of 1 annotation have no `bbox`"),
    ],
)
def test_fields(tmp_path: Path, given: dict[str, Any], expected: str) -> None:
    assert expected in said(tmp_path, annotations=[box(1, [1, 2, 3, 4]) | {"id": 1, "area": 12.5} | given])


def test_cleared_crowds_doubled_ids_and_files(tmp_path: Path) -> None:
    run, polygon = {"size": [40, 60], "counts": [0, 2400]}, [[1, 1, 9, 1, 9, 9]]
    entries = [
        box(1, [1, 2, 3, 4]) | {"id": 5, "segmentation": run, "iscrowd": 0},
        box(2, [1, 2, 3, 4]) | {"id": 5, "segmentation": polygon, "iscrowd": 0},
    ]
    images = [{"id": i, "file_name": "image_000.png"} for i in range(2)]
    text = said(tmp_path, annotations=entries, images=images)
    assert "a converter may have cleared `iscrowd`" in text
    assert "1 id of annotations is used more than once (5)" in text
    assert "1 of 1 file name is listed more than once (image_000.png)" in text


def test_an_exports_root(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "digits", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "digits"},
        {"id": 7, "name": "dog", "supercategory": "digits"},
    ]
    assert "'digits' is the supercategory of others and has no box" in said(tmp_path, categories=categories)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}', "\xff"])
def test_what_is_no_coco_json_is_left_to_its_reader(tmp_path: Path, text: str) -> None:
    part = coco_folder(tmp_path, 2)
    Path(part["annotations"]).write_text(text, encoding="latin-1")
    assert coco_signs(workload(Task.DETECTION, {"coco": {"train": part}}).data) == []


def test_other_data_have_none(tmp_path: Path) -> None:
    masks = {"train": mask_folder(tmp_path, 2), "classes": ["background", "cell"]}
    assert coco_signs(workload(Task.SEGMENTATION, {"masks": masks}).data) == []
