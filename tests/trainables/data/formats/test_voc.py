from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_makers import noise, prepared, workload
from format_makers import CLASSES, as_voc, check_scenes, parts_of, scenes, voc_xml

from trainables.data.formats.voc import DIFFICULT, FROM_ZERO, TRUNCATED
from trainables.data.prepare import fingerprint, prepare_domain
from trainables.data.prepared import open_prepared
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.data.sources import read_source
from trainables.errors import DataError
from trainables.specs.data import DataSpec, Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(32, 64)
OBJECT = (
    "<object><name>{name}</name>{more}<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>"
    "<ymax>{3}</ymax></bndbox></object>"
)


def one(*corners: Any, name: str = "ape", more: str = "") -> str:
    return OBJECT.format(*corners, name=name, more=more)


def folder(root: Path, content: str, count: int = 8, **more: Any) -> dict[str, Any]:
    """`count` images of 64×32 pixels, each with the same content of `annotation`."""
    (root / "xml").mkdir(parents=True)
    for scene in scenes(0, count):
        scene.save(root / "images")
        (root / f"xml/{scene.number:03d}.xml").write_text(f"<annotation>{content}</annotation>")
    return {"voc": {"train": {"images": str(root / "images"), "annotations": str(root / "xml")}} | more}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(Task.DETECTION, data)
    return str(error.value)


def looked(data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return quick_look(workload(Task.DETECTION, data)).faults


def test_corners_are_pixels_counted_from_1(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, as_voc(tmp_path, parts_of()), SIZE)
    check_scenes(held, parts_of())
    assert held.meta["warnings"] == held.meta["faults"] == []


def test_a_box_of_the_whole_image_is_the_whole_image(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, folder(tmp_path, one(1, 1, 64, 32)), SIZE)
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[0, 0, 64, 32]]


def test_distances_from_the_edge_can_be_declared(tmp_path: Path) -> None:
    data = as_voc(tmp_path, parts_of(), shift=0)
    data["voc"]["coordinates"] = "edges"
    held = prepared(Task.DETECTION, data, SIZE)
    first = parts_of()["train"][0]
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [list(box) for _, box in first.boxes]
    assert held.meta["warnings"] == []


def test_a_box_from_pixel_0_is_told_of(tmp_path: Path) -> None:
    data = folder(tmp_path, one(0, 3, 20, 20))
    held = prepared(Task.DETECTION, data)
    assert "8 images with boxes from pixel 0, although VOC counts pixels from 1" in held.meta["warnings"][0]
    assert "set data.voc.coordinates: edges" in held.meta["warnings"][0]
    tally = read_source(DataSpec.model_validate(data), Task.DETECTION).parts[Split.TRAIN].tally
    assert len(tally.names()[FROM_ZERO]) == 8


def test_fractions_stay(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, folder(tmp_path, one(45.5, 2.25, 50.75, 10)), SIZE)
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[44.5, 1.25, 6.25, 8.75]]


@pytest.mark.parametrize(("rule", "crowd"), [("ignore", True), ("count", False)])
def test_difficult_objects_are_ignored_like_crowds_or_count(tmp_path: Path, rule: str, crowd: bool) -> None:
    hard = one(1, 1, 10, 10, more="<difficult>1</difficult><truncated>1</truncated>")
    data = folder(tmp_path, hard + one(20, 5, 30, 20, more="<difficult>0</difficult>"), difficult=rule)
    held = prepared(Task.DETECTION, data)
    assert held.splits[Split.TRAIN].crowds(0).tolist() == [crowd, False]
    noticed = (
        read_source(workload(Task.DETECTION, data).data, Task.DETECTION).parts[Split.TRAIN].tally.names()
    )
    assert len(noticed[DIFFICULT]) == len(noticed[TRUNCATED]) == 8


def test_parts_of_a_person_are_no_objects(tmp_path: Path) -> None:
    head = one(2, 2, 4, 4, name="head").replace("object>", "part>")
    held = prepared(Task.DETECTION, folder(tmp_path, one(1, 1, 10, 10, name="person", more=head)), SIZE)
    assert held.classes == ("person",)
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[0, 0, 10, 10]]


def test_the_image_is_called_like_its_xml_or_as_that_says(tmp_path: Path) -> None:
    data = folder(tmp_path, "<filename>C:\\photos\\003.jpg</filename>" + one(1, 1, 10, 10))
    (tmp_path / "images/005.png").rename(tmp_path / "images/five.png")
    xml = tmp_path / "xml/005.xml"
    xml.write_text(f"<annotation><filename>five.png</filename>{one(1, 1, 10, 10)}</annotation>")
    held = prepared(Task.DETECTION, data)
    assert sum(held.meta["counts"].values()) == 8
    assert any("another <filename> than their own name" in warning for warning in held.meta["warnings"])


def test_images_without_xml_are_left_out_and_told_of(tmp_path: Path) -> None:
    data = folder(tmp_path, one(1, 1, 10, 10), 9)
    (tmp_path / "xml/003.xml").unlink()
    (tmp_path / "xml/004.xml").write_text("<annotation><filename>004.png</filename></annotation>")
    held = prepared(Task.DETECTION, data)
    assert sum(held.meta["counts"].values()) == 8
    assert sum(held.meta["boxes"].values()) == 7
    assert held.meta["warnings"][0].startswith("data.voc.train: 1 image without an XML file, left out;")


def test_a_missing_image_stops(tmp_path: Path) -> None:
    data = folder(tmp_path, "<filename>x.png</filename>" + one(1, 1, 10, 10))
    (tmp_path / "images/003.png").unlink()
    assert "x.png  missing_file: there is no file" in refused(data)
    assert looked(data)[0][0] == "data.voc.train"


def test_another_size_than_declared_is_an_unreadable_image(tmp_path: Path) -> None:
    data = folder(tmp_path, "<size><width>64</width><height>32</height></size>" + one(1, 1, 10, 10))
    text = "<size><width>640</width><height>320</height></size>" + one(1, 1, 10, 10)
    (tmp_path / "xml/000.xml").write_text(f"<annotation>{text}</annotation>")
    (tmp_path / "xml/001.xml").write_text(  # LabelImg may leave the size 0
        f"<annotation><size><width>0</width><height>0</height></size>{one(1, 1, 10, 10)}</annotation>"
    )
    held = prepared(Task.DETECTION, data)
    (fault,) = held.meta["faults"]
    assert fault["name"] == "000.png"
    assert "it is 64×32 pixels but annotated as 640×320" in fault["detail"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (one("a", 1, 10, 10), "box 1 is not four numbers"),
        ("<object><name>ape</name></object>", "box 1 is not four numbers"),
        (one(10, 1, 5, 10), "has no extent"),
        (one(100, 1, 110, 10), "lies outside the image of 64×32 pixels"),
        (one(20, 5, 30, 20), "1 object of 000.xml listed twice"),
    ],
)
def test_a_wrong_object_is_listed_and_the_others_stay(tmp_path: Path, more: str, said: str) -> None:
    data = folder(tmp_path, one(20, 5, 30, 20))
    (tmp_path / "xml/000.xml").write_text(f"<annotation>{one(20, 5, 30, 20)}{more}</annotation>")
    held = prepared(Task.DETECTION, data)
    (fault,) = held.meta["faults"]
    assert said in fault["detail"]
    assert sum(held.meta["boxes"].values()) == 8


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no element found"),
        ("<annotation>", "no element found"),
        ("<html></html>", "the root of"),
        (BOMB, "it declares a document type or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "it declares a document type or entities"),
        ("<annotation><object/></annotation>", "object 1 must have a name"),
        (
            f"<annotation>{one(1, 1, 2, 2, more='<difficult>maybe</difficult>')}</annotation>",
            "object 1: difficult must be 0 or 1",
        ),
        ("\x00\x01", "annotations must be XML files of Pascal VOC"),
    ],
)
def test_what_is_no_voc_xml_is_refused_before_work_starts(tmp_path: Path, text: str, said: str) -> None:
    data = folder(tmp_path, one(1, 1, 10, 10))
    (tmp_path / "xml/000.xml").write_text(text)
    assert said in refused(data)
    ((key, reason),) = looked(data)
    assert key == "data.voc.train"
    assert said in reason


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("000 1\n001 -1\n", "says of each whether it shows one class, such as '000 1'"),
        ("000\n001 x y\n", "must have one name in each line, but"),
        ("\n", "is empty"),
        ("a\nb\n", "none of its 2 names does, such as a"),
    ],
)
def test_a_wrong_list_is_refused_before_work_starts(tmp_path: Path, listed: str, said: str) -> None:
    data = folder(tmp_path, one(1, 1, 10, 10))
    (tmp_path / "list.txt").write_text(listed)
    data["voc"]["train"]["list"] = str(tmp_path / "list.txt")
    assert said in refused(data)
    assert said in looked(data)[0][1]


def test_a_name_without_xml_stops(tmp_path: Path) -> None:
    data = folder(tmp_path, one(1, 1, 10, 10))
    (tmp_path / "list.txt").write_text("000\n001\n002\nnone\n")
    data["voc"]["train"]["list"] = str(tmp_path / "list.txt")
    assert "none  missing_file:" in refused(data)
    assert "1 name of" in looked(data)[0][1]
    held = prepared(Task.DETECTION, data | {"faults": {"missing_file": "drop"}})
    assert sum(held.meta["counts"].values()) == 3


def test_classes_can_be_declared(tmp_path: Path) -> None:
    data = folder(tmp_path, one(1, 1, 10, 10), classes=["zebu", "ape"])
    held = prepared(Task.DETECTION, data)
    assert held.classes == ("zebu", "ape")
    assert held.splits[Split.TRAIN].labels(0).tolist() == [1]
    data["voc"]["classes"] = ["bee"]
    assert "objects must have one of data.voc.classes (bee), but some are of ape" in refused(data)
    assert "objects must have one of data.voc.classes (bee)" in looked(data)[0][1]


def test_no_folder_or_no_file_is_refused(tmp_path: Path) -> None:
    data = folder(tmp_path, one(1, 1, 10, 10))
    part = data["voc"]["train"]
    for key in ("images", "annotations"):
        wrong = {"voc": {"train": part | {key: str(tmp_path / "none")}}}
        assert f"data.voc.train.{key} must be a folder" in refused(wrong)
    wrong = {"voc": {"train": part | {"annotations": str(tmp_path / "images")}}}
    assert "data.voc.train.annotations must be a folder of XML files" in refused(wrong)


def test_sides_in_place_of_corners_are_refused(tmp_path: Path) -> None:
    message = refused(folder(tmp_path, one(41, 11, 12, 8) + one(31, 21, 20, 6)))
    assert "boxes must be [x0, y0, x1, y1]" in message


def test_a_turned_photo_follows_its_declared_size(tmp_path: Path) -> None:
    size = "<size><width>32</width><height>64</height></size>"
    data = folder(tmp_path, one(1, 1, 16, 8))
    photo = noise(0, 64, 32)
    exif = photo.getexif()
    exif[0x0112] = 6
    (tmp_path / "images/000.png").unlink()
    photo.save(tmp_path / "images/000.jpg", exif=exif)
    (tmp_path / "xml/000.xml").write_text(f"<annotation>{size}{one(1, 1, 16, 8)}</annotation>")
    held = prepared(Task.DETECTION, data, SIZE)
    part, row = next(
        (part, list(part.names).index("000.jpg")) for part in held.splits.values() if "000.jpg" in part.names
    )
    assert part.boxes(row).tolist() == [[56, 0, 8, 16]]


def test_the_fingerprint_is_of_xml_list_and_settings(tmp_path: Path) -> None:
    def name(data: dict[str, Any]) -> str:
        return fingerprint(workload(Task.DETECTION, data), SIZE)

    data, copy = (as_voc(tmp_path / place, parts_of()) for place in ("a", "b"))
    same = name(data)
    assert name(copy) == same
    assert name({"voc": copy["voc"] | {"difficult": "count"}}) != same
    assert name({"voc": copy["voc"] | {"coordinates": "edges"}}) != same
    file = tmp_path / "b/Annotations/000.xml"
    before = file.read_text()
    file.write_text(before.replace("<object>", "<object><difficult>1</difficult>"))
    assert name(copy) != same
    file.write_text(before)
    listed = tmp_path / "b/ImageSets/Main/test.txt"
    listed.write_text(listed.read_text().replace("014\n", ""))
    assert name(copy) != same


def test_files_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    for place in ("a", "b"):
        for scene in scenes(0, 4):
            scene.save(tmp_path / "images" / place)
            (tmp_path / "xml" / place).mkdir(parents=True, exist_ok=True)
            (tmp_path / f"xml/{place}/{scene.number:03d}.xml").write_text(voc_xml(scene))
    data = {"voc": {"train": {"images": str(tmp_path / "images"), "annotations": str(tmp_path / "xml")}}}
    assert sum(prepared(Task.DETECTION, data).meta["counts"].values()) == 8
    names = {fingerprint(workload(Task.DETECTION, data), SIZE)}
    for place in ("a", "b"):
        (tmp_path / f"xml/{place}/001.xml").write_text(f"<annotation>{one(1, 1, 9, 9)}</annotation>")
        names.add(fingerprint(workload(Task.DETECTION, data), SIZE))
    assert len(names) == 3


def test_a_domain_has_the_classes_of_the_data(tmp_path: Path) -> None:
    data = as_voc(tmp_path / "a", parts_of())
    far = folder(tmp_path / "b", one(1, 1, 10, 10, name="cow"), 2)["voc"]["train"]
    asked = workload(Task.DETECTION, data | {"domains": {"far": {"voc": far}}})
    assert quick_look(asked).faults == ()
    made = prepare_domain(asked, "far", asked.data.domains["far"], CLASSES, size=SIZE)
    assert open_prepared(made).splits[Split.TEST].labels(0).tolist() == [2]
    (tmp_path / "b/xml/000.xml").write_text(f"<annotation>{one(1, 1, 9, 9, name='emu')}</annotation>")
    with pytest.raises(DataError, match="the model has no class 'emu'"):
        prepare_domain(asked, "far", asked.data.domains["far"], CLASSES, size=SIZE)


def test_the_maker_writes_pixels_from_1() -> None:
    (label, (x, y, w, h)), *_ = scenes(0, 1)[0].boxes
    text = voc_xml(scenes(0, 1)[0])
    assert f"<name>{CLASSES[label]}</name><bndbox><xmin>{x + 1:g}</xmin>" in text
    assert f"<xmax>{x + w:g}</xmax><ymax>{y + h:g}</ymax>" in text
