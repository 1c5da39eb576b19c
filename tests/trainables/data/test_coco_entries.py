"""Annotations that a file gives in an unusual way, through preparation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from data_makers import box, coco_folder, prepared

from trainables.data.coco import read_coco
from trainables.data.prepared import Prepared
from trainables.errors import DataError
from trainables.specs.data import CocoData, CocoPart, Split
from trainables.specs.workload import Task


def change(part: dict[str, str], edit: Any) -> dict[str, str]:
    path = Path(part["annotations"])
    file = json.loads(path.read_text())
    edit(file)
    path.write_text(json.dumps(file))
    return part


def held(part: dict[str, str], **more: Any) -> Prepared:
    return prepared(Task.DETECTION, {"coco": {"train": part} | more})


def total(data: Prepared, key: str) -> int:
    return sum(data.meta[key].values())


@pytest.mark.parametrize(("flag", "crowds"), [("0", 0), ("1", 20), (None, 0), ("false", 0), (0.0, 0)])
def test_crowds_as_text(tmp_path: Path, flag: Any, crowds: int) -> None:
    def edit(file: dict[str, Any]) -> None:
        for entry in file["annotations"]:
            entry["iscrowd"] = flag

    data = held(change(coco_folder(tmp_path, 10), edit))
    assert total(data, "boxes") == 20
    assert total(data, "crowds") == crowds


def test_a_flag_that_is_neither_names_its_place(tmp_path: Path) -> None:
    part = change(coco_folder(tmp_path, 8), lambda f: f["annotations"][3].update(iscrowd="perhaps"))
    with pytest.raises(DataError, match=r'annotations\[3\]\.iscrowd must be 0 or 1, got "perhaps"'):
        held(part)


@pytest.mark.parametrize("make", [str, float, lambda v: f"{v}.0"])
@pytest.mark.parametrize("keys", [("image_id",), ("category_id",), ("image_id", "category_id")])
def test_ids_of_another_type(tmp_path: Path, make: Any, keys: tuple[str, ...]) -> None:
    def edit(file: dict[str, Any]) -> None:
        for entry in file["annotations"]:
            entry.update({key: make(entry[key]) for key in keys})

    data = held(change(coco_folder(tmp_path, 8), edit))
    assert not data.meta["faults"]
    assert total(data, "boxes") == 16


def test_ids_that_match_nothing_are_one_sentence(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        for entry in file["annotations"]:
            entry["image_id"] = f"image_{entry['image_id']}"

    part = change(coco_folder(tmp_path, 8), edit)
    with pytest.raises(DataError, match=r"image_id is of type text, such as .* ids of type number, such as"):
        held(part)


def test_categories_that_match_nothing_are_one_sentence(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        for entry in file["annotations"]:
            entry["category_id"] = "cat"

    part = change(coco_folder(tmp_path, 8), edit)
    with pytest.raises(DataError, match="category_id is of type text"):
        held(part)


@pytest.mark.parametrize(
    "absent", ["no field", None, [], [0, 0, 0, 0], [7, 9, 0, 0], [7, 9, 5, 0], [7, 9, 0, 5]]
)
def test_boxes_are_taken_from_polygons_and_masks(tmp_path: Path, absent: Any) -> None:
    runs = {"size": [40, 60], "counts": [5 * 40 + 3, *([6, 34] * 7), 6, 40 * 60 - 5 * 40 - 3 - 40 * 7 - 6]}
    outlines = [[[4, 5, 16, 5, 16, 15, 4, 15]], runs]

    def edit(file: dict[str, Any]) -> None:
        for number, entry in enumerate(file["annotations"]):
            if number % 4 < 2:
                continue
            entry["segmentation"] = outlines[number % 2]
            entry.pop("bbox")
            if absent != "no field":
                entry["bbox"] = absent

    data = held(change(coco_folder(tmp_path, 8), edit))
    assert not data.meta["faults"]
    assert total(data, "boxes") == 16
    (warning,) = data.meta["warnings"]
    assert warning.startswith("data.coco.train: 8 of 16 objects have a polygon or mask but no bbox")
    boxes = {tuple(b) for s in data.splits.values() for i in range(len(s)) for b in s.boxes(i).tolist()}
    assert {(4, 5, 12, 10), (5, 3, 8, 6)} <= boxes


def test_an_object_without_box_and_outline_is_a_fault(tmp_path: Path) -> None:
    data = held(change(coco_folder(tmp_path, 8), lambda f: f["annotations"][0].pop("bbox")))
    assert [f["detail"] for f in data.meta["faults"]] == ["box 0 is not four numbers"]


@pytest.mark.parametrize("spelling", ["same", "dotted", "link", "hard link"])
def test_one_file_under_several_entries_is_one_image(tmp_path: Path, spelling: str) -> None:
    part = coco_folder(tmp_path, 8)
    folder = Path(part["images"])

    def edit(file: dict[str, Any]) -> None:
        again = []
        for image in file["images"]:
            name = image["file_name"]
            if spelling == "dotted":
                name = f"./{name}"
            elif spelling == "link":
                (folder / f"link_{name}").symlink_to(folder / name)
                name = f"link_{name}"
            elif spelling == "hard link":
                os.link(folder / name, folder / f"hard_{name}")
                name = f"hard_{name}"
            again.append(image | {"id": image["id"] + 100, "file_name": name})
        file["images"] += again
        for entry in file["annotations"]:
            if entry["category_id"] == 7:
                entry["image_id"] += 100

    data = held(change(part, edit))
    assert total(data, "counts") == 8
    assert total(data, "boxes") == 16
    assert all(len(s.boxes(i)) == 2 for s in data.splits.values() for i in range(len(s)))
    assert data.meta["warnings"][0].startswith("data.coco.train: 8 image files are listed more than once")


def test_entries_of_one_file_with_two_sizes_are_refused(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["images"].append(file["images"][0] | {"id": 99, "width": 61})

    with pytest.raises(DataError, match="a file must have one size, but images 0 and 99 are both image_000"):
        held(change(coco_folder(tmp_path, 8), edit))


def test_annotations_that_are_listed_twice_count_once(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["annotations"] += [entry | {"id": entry["id"] + 500} for entry in file["annotations"][:3]]

    data = held(change(coco_folder(tmp_path, 8), edit))
    assert total(data, "boxes") == 16
    assert [(f["action"], f["detail"]) for f in data.meta["faults"]] == [
        ("left out", f"annotation {number} is listed twice") for number in (500, 501, 502)
    ]


def test_two_objects_in_one_place_are_two(tmp_path: Path) -> None:
    entries = [box(i, [4, 5, 12, 10], category=c) for i in range(8) for c in (3, 7)]
    data = held(coco_folder(tmp_path, 8, annotations=entries))
    assert total(data, "boxes") == 16


@pytest.mark.parametrize("side", ["60", 60.0, "60.0"])
def test_sizes_as_text(tmp_path: Path, side: Any) -> None:
    def edit(file: dict[str, Any]) -> None:
        for image in file["images"]:
            image["width"] = side
        file["images"][5]["height"] = "41"

    data = held(change(coco_folder(tmp_path, 8), edit))
    assert [f["detail"] for f in data.meta["faults"]] == ["it is 60×40 pixels but annotated as 60×41"]


def test_a_file_that_is_not_found_names_the_near_one(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        for image in file["images"]:
            image["file_name"] = image["file_name"].replace(".png", ".PNG")

    with pytest.raises(DataError) as error:
        held(change(coco_folder(tmp_path, 8), edit))
    assert "did you mean 'image_000.png'?" in str(error.value)
    assert "drop" not in str(error.value).splitlines()[-1]


# --- classes ----------------------------------------------------------------------------------


def rooted(file: dict[str, Any]) -> None:
    file["categories"].append({"id": 0, "name": "pets", "supercategory": "none"})
    for category in file["categories"][:2]:
        category["supercategory"] = "Pets"


def spec(part: dict[str, str], **more: dict[str, str]) -> CocoData:
    return CocoData(train=CocoPart(**part), **{key: CocoPart(**value) for key, value in more.items()})


def test_a_root_without_boxes_is_no_class(tmp_path: Path) -> None:
    part = change(coco_folder(tmp_path, 8), rooted)
    assert read_coco(spec(part)).classes == ("cat", "dog")
    assert read_coco(spec(part), roots=True).classes == ("pets", "cat", "dog")


def test_a_parent_with_a_box_and_a_class_without_children_stay(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        rooted(file)
        file["categories"].append({"id": 9, "name": "bird", "supercategory": "Pets"})
        file["annotations"][0]["category_id"] = 0

    assert read_coco(spec(change(coco_folder(tmp_path, 8), edit))).classes == ("pets", "cat", "dog", "bird")


def test_a_category_that_is_its_own_parent_is_a_class(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["categories"].append({"id": 9, "name": "bird", "supercategory": "bird"})

    assert "bird" in read_coco(spec(change(coco_folder(tmp_path, 8), edit))).classes


@pytest.mark.parametrize(("name", "own"), [("Cat", "cat"), ("dog ", "dog"), ("DOG", "dog")])
def test_a_class_that_validation_spells_otherwise_is_refused(tmp_path: Path, name: str, own: str) -> None:
    def edit(file: dict[str, Any]) -> None:
        next(c for c in file["categories"] if c["name"] == own)["name"] = name

    validation = change(coco_folder(tmp_path / "b", 4, start=50), edit)
    with pytest.raises(DataError, match=rf"validation: .*'{name}' \(did you mean '{own}'\?\); rename"):
        read_coco(spec(coco_folder(tmp_path / "a", 8), validation=validation))


def test_letters_in_both_cases_are_two_classes(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        file["categories"][0]["name"], file["categories"][1]["name"] = "m", "M"

    parts = [change(coco_folder(tmp_path / str(i), 4, start=50 * i), edit) for i in range(2)]
    assert set(read_coco(spec(parts[0], validation=parts[1])).classes) == {"m", "M"}


def test_a_model_that_spells_a_class_otherwise_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'Cat'"):
        read_coco(spec(coco_folder(tmp_path, 4)), ("Cat", "dog"))


def test_samples_keep_the_names_of_the_file(tmp_path: Path) -> None:
    def edit(file: dict[str, Any]) -> None:
        for image in file["images"]:
            image["file_name"] = f".\\{image['file_name']}"

    samples = read_coco(spec(change(coco_folder(tmp_path, 4), edit))).parts[Split.TRAIN].samples
    assert samples[0].name == ".\\image_000.png"
    assert samples[0].photo().image.size == (60, 40)
