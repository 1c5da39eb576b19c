from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_makers import SMALL, box, coco_folder, noise, prepared
from PIL import Image

from trainables.data.check import check_image
from trainables.data.coco import read_coco
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import CocoData, CocoPart, Split
from trainables.specs.workload import Task


def _spec(part: dict[str, str]) -> CocoData:
    return CocoData(train=CocoPart(**part))


def test_categories_are_named_in_the_order_of_their_ids(tmp_path: Path) -> None:
    source = read_coco(_spec(coco_folder(tmp_path, 2)))
    assert source.classes == ("cat", "dog")
    found = source.parts[Split.TRAIN].samples[0].annotations()
    assert found.boxes.tolist() == [[4, 5, 12, 10], [20, 8, 16, 24]]
    assert found.labels.tolist() == [0, 1]
    assert found.with_areas().areas.tolist() == [120, 384]


def test_area_and_crowd_are_kept(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 1, annotations=[box(0, [1, 2, 3, 4], area=7.25, iscrowd=1)])
    found = read_coco(_spec(part)).parts[Split.TRAIN].samples[0].annotations()
    assert (found.areas.tolist(), found.crowds.tolist()) == ([7.25], [True])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.pop("categories"), "list 'categories'"),
        (lambda f: f.update(images=[]), "must list images"),
        (lambda f: f["images"][0].pop("file_name"), r"images\[0\] must have file_name"),
        (lambda f: f["annotations"][1].pop("image_id"), r"annotations\[1\] must have image_id"),
    ],
)
def test_a_file_of_another_form(tmp_path: Path, change: Any, words: str) -> None:
    part = coco_folder(tmp_path, 2)
    file = json.loads(Path(part["annotations"]).read_text())
    change(file)
    Path(part["annotations"]).write_text(json.dumps(file))
    with pytest.raises(DataError, match=words):
        read_coco(_spec(part))


def test_no_such_file_or_folder(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 2)
    with pytest.raises(DataError, match="COCO JSON"):
        read_coco(_spec(part | {"annotations": str(tmp_path / "none.json")}))
    with pytest.raises(DataError, match="must be a folder"):
        read_coco(_spec(part | {"images": str(tmp_path / "none")}))
    (tmp_path / "torn.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"torn\.json"):
        read_coco(_spec(part | {"annotations": str(tmp_path / "torn.json")}))


def test_faults_are_listed_by_name(tmp_path: Path) -> None:
    annotations = [box(i, [4, 5, 12, 10]) for i in range(20)]
    annotations += [
        box(3, [55, 35, 30, 30]),
        box(4, [4, 5, 0, 10]),
        box(5, [4, 5, 6], category=3),
        box(6, [4, 5, 6, 7], category=99),
        box(777, [4, 5, 6, 7]),
    ]
    part = coco_folder(tmp_path, 20, annotations=annotations)
    folder = Path(part["images"])
    (folder / "image_001.png").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    (folder / "image_002.png").unlink()
    Image.open(folder / "image_008.png").resize((30, 20)).save(folder / "image_008.png")
    torn = (folder / "image_009.png").read_bytes()
    (folder / "image_009.png").write_bytes(torn[: len(torn) // 2])
    data = {"coco": {"train": part}, "faults": {"missing_file": "drop"}}
    held = prepared(Task.DETECTION, data)
    seen = {(f["name"], f["fault"], f["action"]) for f in held.meta["faults"]}
    assert seen == {
        ("image_001.png", "unreadable_image", "image dropped"),
        ("image_002.png", "missing_file", "image dropped"),
        ("image_008.png", "unreadable_image", "image dropped"),
        ("image_009.png", "unreadable_image", "image dropped"),
        ("image_003.png", "bad_box", "box cut to the image"),
        ("image_004.png", "bad_box", "box dropped"),
        ("image_005.png", "bad_box", "box dropped"),
        ("image_006.png", "bad_box", "box dropped"),
        ("annotation 24", "bad_box", "box dropped"),
    }
    assert len(held.meta["faults"]) == 9
    assert sum(held.meta["counts"].values()) == 16
    assert sum(held.meta["boxes"].values()) == 17
    size = next(f["detail"] for f in held.meta["faults"] if f["name"] == "image_008.png")
    assert size == "it is 30×20 pixels but annotated as 60×40"


def test_photos_are_upright_whatever_size_is_declared(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 8)
    file = json.loads(Path(part["annotations"]).read_text())
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(0, 60, 40).save(Path(part["images"]) / "turned.jpg", exif=exif)
    noise(0, 40, 60).save(Path(part["images"]) / "as_stored.jpg", exif=exif)
    for i, name in enumerate(("turned.jpg", "as_stored.jpg")):
        file["images"][i]["file_name"] = name
    Path(part["annotations"]).write_text(json.dumps(file))
    samples = {s.name: s for s in read_coco(_spec(part)).parts[Split.TRAIN].samples}
    assert samples["turned.jpg"].photo().image.size == (60, 40)
    assert samples["as_stored.jpg"].photo().image.size == (40, 60)
    assert samples["turned.jpg"].annotations().boxes[0].tolist() == [4, 5, 12, 10]
    assert samples["as_stored.jpg"].annotations().boxes[0].tolist() == [25, 4, 10, 12]


def test_the_parts_share_one_list_of_classes(tmp_path: Path) -> None:
    train, validation = coco_folder(tmp_path / "a", 6), coco_folder(tmp_path / "b", 2, start=50)
    file = json.loads(Path(validation["annotations"]).read_text())
    file["categories"] = [{"id": 3, "name": "dog"}, {"id": 7, "name": "bird"}]
    Path(validation["annotations"]).write_text(json.dumps(file))
    held = prepared(Task.DETECTION, {"coco": {"train": train, "validation": validation}})
    assert held.classes == ("cat", "dog", "bird")
    assert held.splits[Split.VALIDATION].labels(0).tolist() == [1, 2]
    assert held.meta["counts"] == {"train": 5, "validation": 2, "test": 1}


def test_an_image_in_two_given_parts_is_refused(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 4)
    with pytest.raises(DataError, match=r"image_000\.png \(train and test\)"):
        prepared(Task.DETECTION, {"coco": {"train": part, "test": part}})


def test_truth_stays_in_original_pixels(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8)}}, Resize.edges(20))
    truth = held.splits[Split.TRAIN].truth(0)
    assert (truth.height, truth.width) == (40, 60)
    assert held.splits[Split.TRAIN].sizes[0].tolist() == [20, 30]
    assert truth.boxes.tolist() == [[4, 5, 12, 10], [20, 8, 16, 24]]


def _changed(root: Path, change: Any, count: int = 2) -> dict[str, str]:
    part = coco_folder(root, count)
    file = json.loads(Path(part["annotations"]).read_text())
    change(file)
    Path(part["annotations"]).write_text(json.dumps(file))
    return part


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f["categories"][0].update(id="7"), "categories must be all whole numbers or all strings"),
        (lambda f: f["categories"][0].update(id=[7]), r"categories\[0\]\.id must be a whole number"),
        (lambda f: f["categories"][0].update(id=3), r"categories\[0\] and categories\[1\] both have 3"),
        (lambda f: f["categories"][0].update(name=None), r"categories\[0\]\.name must be a string, got null"),
        (lambda f: f["images"][1].update(id=0), r"images\[0\] and images\[1\] both have 0"),
        (lambda f: f["images"][1].update(id={"a": 1}), r"images\[1\]\.id must be a whole number or a string"),
        (lambda f: f["images"][1].update(id=1.5), "got 1.5"),
        (lambda f: f["images"][1].update(id=True), "got true"),
        (lambda f: f["images"][0].update(file_name=None), r"images\[0\]\.file_name must be a file's name"),
        (lambda f: f["images"][0].update(file_name=""), "file_name must be"),
        (lambda f: f["images"][0].update(file_name="a\0.png"), "file_name must be"),
        (lambda f: f["images"][0].update(file_name="\ud800.png"), "file_name must be"),
        (lambda f: f["annotations"][1].update(image_id=[1]), r"annotations\[1\]\.image_id must be"),
        (lambda f: f["annotations"][1].update(image_id=["x" * 999]), "xxx…"),
    ],
)
def test_ids_and_names_of_another_type_or_twice(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_coco(_spec(_changed(tmp_path, change)))


def test_ids_may_be_strings(tmp_path: Path) -> None:
    def change(file: dict[str, Any]) -> None:
        for entry in (*file["images"], *file["categories"]):
            entry["id"] = f"id {entry['id']}"
        for entry in file["annotations"]:
            entry |= {"image_id": f"id {entry['image_id']}", "category_id": f"id {entry['category_id']}"}

    source = read_coco(_spec(_changed(tmp_path, change)))
    assert source.classes == ("cat", "dog")
    assert source.parts[Split.TRAIN].samples[1].annotations().labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": bbox}
        for bbox in (
            None, 7, "1 2 3 4", {}, [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "four"], [1, 2, 3, None],
            [[1], 2, 3, 4], [1, 2, float("nan"), 4], [1, 2, float("inf"), 4],
            [1, 2, 3, 10**400], [1e300, 2, 3, 4],
            [True, True, True, True],
        )
    ] + [{"category_id": key} for key in (None, [3], {}, "three", 3.5, True, float("nan"))],
)  # fmt: skip
def test_a_box_of_another_type_is_listed(tmp_path: Path, wrong: dict[str, Any]) -> None:
    part = _changed(tmp_path, lambda f: f["annotations"][0].update(wrong), 8)
    faults = prepared(Task.DETECTION, {"coco": {"train": part}}).meta["faults"]
    assert [(f["name"], f["fault"], f["action"]) for f in faults] == [
        ("image_000.png", "bad_box", "box dropped")
    ]


WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "text", [], [1], [[]], {}, {"id": 1},
)  # fmt: skip


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ([way] if way else []) + [place for key, held in inner for place in _places(held, (*way, key))]


def test_no_wrong_type_anywhere_gets_past_the_reader(tmp_path: Path) -> None:
    part = coco_folder(
        tmp_path, 2, annotations=[box(0, [4, 5, 6, 7], area=42, iscrowd=0), box(1, [1, 2, 3, 4])]
    )
    path = Path(part["annotations"])
    sound = path.read_text()
    refused = 0
    for place in _places(json.loads(sound)):
        for wrong in (*WRONG, "absent"):
            file = json.loads(sound)
            parent = file
            for key in place[:-1]:
                parent = parent[key]
            if wrong == "absent":
                del parent[place[-1]]
            else:
                parent[place[-1]] = wrong
            path.write_text(json.dumps(file))
            try:
                source = read_coco(_spec(part))
            except DataError:
                refused += 1
                continue
            for sample in source.parts[Split.TRAIN].samples:
                check_image(
                    sample, split=Split.TRAIN, classes=source.classes, task=Task.DETECTION, size=SMALL
                )
    assert refused > 200
    for text in ("null", "[]", "7", "[" * 100_000, '{"images": 3, "annotations": [], "categories": []}'):
        path.write_text(text)
        with pytest.raises(DataError):
            read_coco(_spec(part))
