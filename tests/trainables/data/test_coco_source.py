from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_makers import box, coco_folder, noise, prepared
from PIL import Image

from trainables.config import CocoData, CocoPart, Split, Task
from trainables.data.coco import read_coco
from trainables.data.resize import Resize
from trainables.errors import DataError


def _spec(part: dict[str, str]) -> CocoData:
    return CocoData(train=CocoPart(**part))


def test_categories_are_named_in_the_order_of_their_ids(tmp_path: Path) -> None:
    source = read_coco(_spec(coco_folder(tmp_path, 2)))
    assert source.classes == ("cat", "dog")
    found = source.parts[Split.TRAIN].samples[0].annotations()
    assert found.boxes.tolist() == [[4, 5, 12, 10], [20, 8, 16, 24]]
    assert found.labels.tolist() == [0, 1]
    assert found.areas.tolist() == [120, 384]


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


def test_a_photo_is_turned_only_to_its_declared_size(tmp_path: Path) -> None:
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
    assert samples["turned.jpg"].image().size == (60, 40)
    assert samples["as_stored.jpg"].image().size == (60, 40)


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
