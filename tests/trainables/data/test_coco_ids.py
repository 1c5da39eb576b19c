"""Ids and categories of annotations that name something else than they seem to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder, prepared

from trainables.data.prepared import Prepared
from trainables.errors import DataError
from trainables.specs.workload import Task


def held(tmp_path: Path, edit: Any) -> Prepared:
    """Eight prepared images of a file that `edit` has changed."""
    part = coco_folder(tmp_path, 8)
    path = Path(part["annotations"])
    file = json.loads(path.read_text())
    for image in file["images"]:  # from 1 on
        image["id"] += 1
    for entry in file["annotations"]:
        entry["image_id"] += 1
    for number, category in enumerate(sorted(file["categories"], key=lambda c: c["id"]), start=1):
        for entry in file["annotations"]:
            if entry["category_id"] == category["id"]:
                entry["category_id"] = number
        category["id"] = number
    edit(file)
    path.write_text(json.dumps(file))
    return prepared(Task.DETECTION, {"coco": {"train": part}})


@pytest.mark.parametrize("field", ["image_id", "category_id"])
@pytest.mark.parametrize(("step", "sign"), [(-1, "plus"), (1, "minus")])
def test_ids_counted_from_0_and_from_1_are_refused(tmp_path: Path, field: str, step: int, sign: str) -> None:
    def edit(file: dict[str, Any]) -> None:
        for entry in file["annotations"]:
            entry[field] += step

    with pytest.raises(
        DataError, match=rf"{field} \d is not one, and the {field}s {sign} 1 are these ids: are"
    ):
        held(tmp_path, edit)


def test_an_annotation_of_a_removed_image_is_only_listed(tmp_path: Path) -> None:
    found = held(tmp_path, lambda file: file["images"].pop(0))
    assert {f["detail"] for f in found.meta["faults"]} == {
        "it belongs to image 1, which the file does not list"
    }


def test_left_over_annotations_of_a_filtered_file_are_only_listed(tmp_path: Path) -> None:
    """One annotation of a removed category, though all ids minus 1 are declared ones."""

    def edit(file: dict[str, Any]) -> None:
        for entry in file["annotations"]:
            entry["category_id"] = 2
        file["annotations"][3]["category_id"] = 3

    assert [f["fault"] for f in held(tmp_path, edit).meta["faults"]] == ["bad_box"]


def test_shifted_ids_that_are_not_all_declared_ones_are_only_listed(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["categories"].append({"id": 3, "name": "bird"})
        for entry in file["annotations"]:
            entry["category_id"] -= 1

    assert {f["fault"] for f in held(tmp_path, edit).meta["faults"]} == {"bad_box"}


@pytest.mark.parametrize("of", [("images", "id"), ("annotations", "image_id")])
def test_ids_that_floats_have_rounded_are_refused(tmp_path: Path, of: tuple[str, str]) -> None:
    name, field = of

    def edit(file: dict[str, Any]) -> None:
        for entry in file[name]:
            entry[field] = float(entry[field] + 2**53)

    with pytest.raises(
        DataError, match=rf"{name}\[0\]\.{field} must be .*floats do not hold every whole number"
    ):
        held(tmp_path, edit)


def test_whole_numbers_of_any_size_are_ids(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        for entry in file["images"]:
            entry["id"] += 2**60
        for entry in file["annotations"]:
            entry["image_id"] += 2**60

    assert not held(tmp_path, edit).meta["faults"]


def test_a_root_with_a_box_of_its_own_is_said(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        for category in file["categories"]:
            category["supercategory"] = "pets"
        file["categories"].append({"id": 0, "name": "pets", "supercategory": "none"})
        file["annotations"][0]["category_id"] = 0

    (warning,) = [w for w in held(tmp_path, edit).meta["warnings"] if "supercategory" in w]
    assert "have boxes of their own, so they count as classes: 'pets' (1)" in warning


def test_classes_that_differ_in_case_or_blanks_only_are_said(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["categories"][0]["name"], file["categories"][1]["name"] = "red", "Red "

    (warning,) = held(tmp_path, edit).meta["warnings"]
    assert "classes differ only in case or blanks" in warning
    assert "'red'" in warning
    assert "'Red '" in warning


def test_letters_in_both_cases_are_not_doubted(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["categories"][0]["name"], file["categories"][1]["name"] = "m", "M"

    assert not held(tmp_path, edit).meta["warnings"]


@pytest.mark.parametrize("size", [[60, 40], [80, 120]])
def test_a_mask_of_another_size_gives_no_box(tmp_path: Path, size: list[int]) -> None:
    def edit(file: dict[str, Any]) -> None:
        entry = next(e for e in file["annotations"] if e["image_id"] == 2)
        del entry["bbox"]
        entry["segmentation"] = {
            "size": size,
            "counts": [2 * size[0], 5, size[0] * size[1] - 2 * size[0] - 5],
        }

    (fault,) = held(tmp_path, edit).meta["faults"]
    assert (fault["name"], fault["action"]) == ("image_001.png", "image dropped")
    assert (
        f"it is 60×40 pixels, but objects without a bbox have masks of {size[1]}×{size[0]}" in fault["detail"]
    )


def test_a_box_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["annotations"][0] |= {"bbox": {"x": 1, "y": 2, "w": 3, "h": 4}, "area": 12}

    assert [f["detail"] for f in held(tmp_path, edit).meta["faults"]] == ["box 0 is not four numbers"]
