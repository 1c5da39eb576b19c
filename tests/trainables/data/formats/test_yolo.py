from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import noise, prepared, workload
from format_makers import CLASSES, as_yolo, check_scenes, parts_of, scenes, yolo_rows

from trainables.data.formats.yolo import BESIDE, UNLABELLED
from trainables.data.formats.yolo_file import load_yolo_file
from trainables.data.prepare import fingerprint
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.data.sources import read_source
from trainables.errors import DataError
from trainables.specs.data import DataSpec, Split
from trainables.specs.workload import Task

SIZE = Resize.fixed(32, 64)


def data_yaml(root: Path, text: str) -> dict[str, Any]:
    (root / "data.yaml").write_text(text)
    return {"yolo": {"file": str(root / "data.yaml")}}


def train_of(root: Path, rows: str, count: int = 6) -> dict[str, Any]:
    """`count` images with the same rows each, and a `data.yaml`."""
    (root / "labels/train").mkdir(parents=True)
    for scene in scenes(0, count):
        scene.save(root / "images/train")
        (root / f"labels/train/{scene.number:03d}.txt").write_text(rows)
    return data_yaml(root, "train: images/train\nnames: [ape, bee, cow]\n")


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(Task.DETECTION, data)
    return str(error.value)


def test_boxes_by_centre_and_shares(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, as_yolo(tmp_path, parts_of()), SIZE)
    check_scenes(held, parts_of())
    assert held.meta["warnings"] == []


def test_a_part_that_is_absent_is_split_off(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, train_of(tmp_path, "0 0.5 0.5 0.25 0.25\n", 10))
    assert held.meta["counts"] == {"train": 6, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    "place",
    ["images/train", "../images/train", "train.txt", "[images/train, more/images]", "./images/train"],
)
def test_parts_are_named_in_several_ways(tmp_path: Path, place: str) -> None:
    """As Ultralytics reads them; `../images` is what Roboflow writes next to the folder."""
    train_of(tmp_path, "0 0.5 0.5 0.25 0.25\n")
    (tmp_path / "more/images").mkdir(parents=True)
    (tmp_path / "more/labels").mkdir(parents=True)
    noise(99).save(tmp_path / "more/images/x.png")
    listed = "\n".join(f"./images/train/{scene.name}" for scene in scenes(0, 6))
    (tmp_path / "train.txt").write_text(listed + "\n")
    data = data_yaml(tmp_path, f"train: {place}\nnames: [ape]\nnc: 1\n")
    found = read_source(DataSpec.model_validate(data), Task.DETECTION)
    assert sum(len(part.samples) for part in found.parts.values()) == (7 if "[" in place else 6)
    assert found.classes == ("ape",)


def test_a_path_of_another_machine_is_told_of(tmp_path: Path) -> None:
    train_of(tmp_path, "0 0.5 0.5 0.25 0.25\n")
    data = data_yaml(tmp_path, "path: /content/drive/set\ntrain: images/train\nnames: [ape]\n")
    (warning,) = prepared(Task.DETECTION, data).meta["warnings"]
    assert "its path, /content/drive/set, does not exist here" in warning


def test_names_with_gaps_keep_their_numbers(tmp_path: Path) -> None:
    train_of(tmp_path, "7 0.5 0.5 0.25 0.25\n2 0.25 0.25 0.25 0.25\n")
    data = data_yaml(tmp_path, "train: images/train\nnames: {7: dog, 2: cat}\n")
    held = prepared(Task.DETECTION, data)
    assert held.classes == ("cat", "dog")
    assert held.splits[Split.TRAIN].labels(0).tolist() == [1, 0]


def test_an_image_without_labels_has_no_objects(tmp_path: Path) -> None:
    data = train_of(tmp_path, "0 0.5 0.5 0.25 0.25\n", 10)
    (tmp_path / "labels/train/003.txt").unlink()
    (tmp_path / "labels/train/004.txt").write_text("\n")
    held = prepared(Task.DETECTION, data)
    assert sum(held.meta["counts"].values()) == 10
    assert sum(held.meta["boxes"].values()) == 8
    assert held.meta["warnings"][0] == (
        "data.yolo.train: 1 of 10 images has no label file and counts as an image without objects (003.png)"
    )
    tally = read_source(DataSpec.model_validate(data), Task.DETECTION).parts[Split.TRAIN].tally
    assert tally.names()[UNLABELLED] == ["003.png"]


def test_labels_without_an_image_are_told_of(tmp_path: Path) -> None:
    data = as_yolo(tmp_path, parts_of())
    (tmp_path / "labels" / "train" / "classes.txt").write_text("ape\nbee\ncow\n")
    said = "data.yolo.train: {} not count ({})"
    assert not prepared(Task.DETECTION, data).meta["warnings"]
    (tmp_path / "images" / "train" / "002.png").unlink()
    found = prepared(Task.DETECTION, data).meta["warnings"]
    assert said.format("1 label file has no image and does", "002.txt") in found
    (tmp_path / "images" / "train" / "003.png").unlink()
    found = prepared(Task.DETECTION, data).meta["warnings"]
    assert said.format("2 label files have no image and do", "002.txt, 003.txt") in found


def test_no_label_file_at_all_is_refused(tmp_path: Path) -> None:
    data = train_of(tmp_path, "")
    for path in (tmp_path / "labels/train").iterdir():
        path.unlink()
    message = refused(data)
    assert "none of 6 images has one; that of" in message
    assert "labels/train/000.txt" in message


def test_a_polygon_among_boxes_is_the_box_around_it(tmp_path: Path) -> None:
    """Ultralytics 8 would read the box as two corners of a polygon."""
    data = train_of(tmp_path, "1 0.5 0.5 0.25 0.25\n0 0.25 0.25 0.5 0.25 0.375 0.75\n", 8)
    held = prepared(Task.DETECTION, data, SIZE)
    assert held.splits[Split.TRAIN].boxes(0).tolist() == [[24, 12, 16, 8], [16, 8, 16, 16]]
    assert "8 label files with polygons among boxes" in held.meta["warnings"][0]
    tally = read_source(DataSpec.model_validate(data), Task.DETECTION).parts[Split.TRAIN].tally
    assert len(tally.names()[BESIDE]) == 8


def test_the_points_of_poses_are_left_out(tmp_path: Path) -> None:
    train_of(tmp_path, "0 0.5 0.5 0.25 0.25 0.5 0.5 2 0.4 0.4 1\n")
    data = data_yaml(tmp_path, "train: images/train\nnames: [ape]\nkpt_shape: [2, 3]\n")
    assert prepared(Task.DETECTION, data, SIZE).splits[Split.TRAIN].boxes(0).tolist() == [[24, 12, 16, 8]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("7 0.5 0.5 0.1 0.1", "line 2 of 000.txt has class 7, which names do not have; they have 0 to 2"),
        ("ape 0.5 0.5 0.1 0.1", "line 2 of 000.txt must be class x y width height, or"),
        ("0 0.5 0.5 0.1", "got 4 numbers: '0 0.5 0.5 0.1'"),
        ("0 0.5 0.5 0.1 0.1 0.9", "has 6 numbers, as a prediction with its score has"),
        ("0 0.5 0.5 nan 0.1", "line 2 of 000.txt must be"),
        ("1 0.5 0.5 0.25 0.25", "line 2 of 000.txt repeats line 1"),
        ("0 0.5 0.5 0 0.1", "box 1 [32, 14.4, 0, 3.2] has no extent"),
        ("0 2.5 0.5 0.1 0.1", "box 1 [156.8, 14.4, 6.4, 3.2] lies outside the image of 64×32 pixels"),
        ("0 0.9 0.5 0.8 0.1", "passes the border of 64×32 pixels"),
    ],
)
def test_a_wrong_row_is_listed_and_the_others_stay(tmp_path: Path, row: str, said: str) -> None:
    data = train_of(tmp_path, "1 0.5 0.5 0.25 0.25\n", 8)
    (tmp_path / "labels/train/000.txt").write_text(f"1 0.5 0.5 0.25 0.25\n{row}\n")
    held = prepared(Task.DETECTION, data, SIZE)
    (fault,) = held.meta["faults"]
    assert said in fault["detail"]
    assert fault["fault"] == "bad_box"
    assert sum(held.meta["boxes"].values()) == 8 + (fault["action"] == "box cut to the image")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.2 0.1\n3 0.2 0.5 0.1 0.1\n", "are they counted from 1? subtract 1"),
        (
            "17 0.5 0.5 0.1 0.1\n0 0.2 0.5 0.1 0.1\n",
            "6 of 12 objects have others: 17; are these the category",
        ),
        ("0 30 12 16 8\n", "6 of 6 have larger numbers; are these pixels?"),
        ("0 0.1 0.1 0.5 0.5\n1 0.6 0.6 0.7 0.9\n", "all fit as [x0, y0, x1, y1]; convert them"),
        ("0 0.05 0.05 0.3 0.3\n1 0 0 0.2 0.5\n", "[x0, y0, x1, y1] or as [x, y, width, height] from the"),
        ("0 0.2 0.25 0.5 0.2\n1 0 0 0.2 0.5\n", "all fit as [x, y, width, height] from the upper left"),
    ],
)
def test_labels_in_another_form_are_refused(tmp_path: Path, rows: str, said: str) -> None:
    message = refused(train_of(tmp_path, rows))
    assert message.startswith("data.yolo.train: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: images/train\n", "names must list the classes, or give them by number"),
        ("train: images/train\nnames: [a, a]\n", "names must differ, but 'a' is there twice"),
        ("train: images/train\nnames: [a, b]\nnc: 3\n", "nc must be the number of names, 2, got 3"),
        ("train: images/train\nnames: {x: a}\n", 'names must have whole numbers from 0 as keys, got "x"'),
        ("train: images/train\nnames: [[a], b]\n", "names must be the classes' names"),
        ("names: [a]\n", "must name images, such as `train: images/train`"),
        ("val: images/train\nnames: [a]\n", "must name train, got val"),
        ("train: images/none\nnames: [a]\n", "there is nothing at"),
        ("train: 3\nnames: [a]\n", "train must be a folder, a .txt file, or a list of these, got"),
        ("train: empty\nnames: [a]\n", "train must hold images, but empty has none"),
        ("train: lost.txt\nnames: [a]\n", "2 lines of 2 name none, such as images/x.png"),
        ("train: images/train\nnames: [a]\nkpt_shape: 3\n", "kpt_shape must be [points, 2 or 3], got"),
        ("train: [\n", "is not YAML"),
        ("- a\n", "holds no mapping"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_wrong_data_yaml_is_refused_before_work_starts(tmp_path: Path, text: str, said: str) -> None:
    train_of(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "lost.txt").write_text("./images/x.png\nimages/y.png\n")
    data = data_yaml(tmp_path, text)
    assert said in refused(data)
    ((key, reason),) = quick_look(workload(Task.DETECTION, data)).faults
    assert key == "data.yolo"
    assert said in reason


def bomb(levels: int) -> str:
    """Lists of nine aliases of the list before: nine levels are 387 million values, too many to print."""
    lines = ["a0: &a0 [ape]"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines) + "\n"


MERGED = "a0: &a0 {0: ape}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        bomb(9) + "names: *a9\ntrain: images/train\n",
        bomb(9) + "names: {0: *a9}\ntrain: images/train\n",
        bomb(9) + "names: [ape, *a9]\ntrain: images/train\n",
        bomb(9) + "names: [ape]\ntrain: *a9\n",
        bomb(9) + "names: [ape]\ntrain: images/train\nkpt_shape: *a9\n",
        MERGED + "names: *a9\ntrain: images/train\n",
    ],
)
def test_aliases_that_repeat_values_without_end_are_refused_and_never_written_out(
    tmp_path: Path, text: str
) -> None:
    message = refused(data_yaml(tmp_path, text))
    assert "data.yaml, line" in message
    assert "aliases that refer to aliases repeat values more than 100,000 times" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(4) + "names: *a4\ntrain: images/train\n", 'names must be the classes\' names, got [[[[["ape"]'),
        (bomb(4) + "names: [ape]\ntrain: *a4\n", 'or a list of these, got [[[["ape"], ["ape"]'),
        ("names: &a [ape, *a]\ntrain: images/train\n", 'the classes\' names, got ["ape", ["ape", ['),
        ("names: [ape]\ntrain: &a [*a]\n", "or a list of these, got [[[["),
        (f"names: {'[' * 700}{']' * 700}\ntrain: images/train\n", "data.yaml is nested too deeply"),
        ("names: {2020-01-01: ape}\ntrain: images/train\n", 'whole numbers from 0 as keys, got "2020-01-01'),
    ],
)
def test_of_a_wrong_value_only_a_little_is_said(tmp_path: Path, text: str, said: str) -> None:
    message = refused(data_yaml(tmp_path, text))
    assert said in message
    assert len(message) < 400 + len(str(tmp_path))


def test_a_few_aliases_are_read(tmp_path: Path) -> None:
    text = "train: &all images/train\nval: *all\nnames: &names [ape]\nothers: [*names, *names]\n"
    data_yaml(tmp_path, text)
    assert load_yolo_file(str(tmp_path / "data.yaml")).given == {
        "train": ("images/train",),
        "val": ("images/train",),
    }


def test_no_file_is_refused(tmp_path: Path) -> None:
    message = refused({"yolo": {"file": str(tmp_path / "data.yaml")}})
    assert message.endswith("data.yaml: No such file or directory")


def test_a_quick_look_names_the_classes_and_finds_another_form(tmp_path: Path) -> None:
    assert quick_look(workload(Task.DETECTION, as_yolo(tmp_path / "a", parts_of()))).classes == CLASSES
    data = train_of(tmp_path / "b", "0 30 12 16 8\n")
    ((key, reason),) = quick_look(workload(Task.DETECTION, data)).faults
    assert key == "data.yolo"
    assert "are these pixels?" in reason


def test_the_fingerprint_is_of_labels_names_and_images_wherever_they_are(tmp_path: Path) -> None:
    def name(root: Path) -> str:
        data = {"yolo": {"file": str(root / "data.yaml")}}
        return fingerprint(workload(Task.DETECTION, data), SIZE)

    first, second = tmp_path / "a", tmp_path / "b"
    for root in (first, second):
        as_yolo(root, parts_of())
    same = name(first)
    assert name(second) == same
    file = second / "data.yaml"
    file.write_text(f"path: {second}\n" + file.read_text().replace("path: .\n", "") + "# a comment\n")
    assert name(second) == same
    file.write_text(file.read_text().replace("cow", "cat"))
    assert name(second) != same
    file.write_text(file.read_text().replace("cat", "cow"))
    label = second / "labels/train/000.txt"
    label.write_text(label.read_text() + "0 0.5 0.5 0.1 0.1\n")
    assert name(second) != same


def test_a_domain_has_the_classes_of_the_data_by_name(tmp_path: Path) -> None:
    data = as_yolo(tmp_path / "a", parts_of())
    other = tmp_path / "b"
    (other / "labels").mkdir(parents=True)
    scene = scenes(50, 1)[0]
    scene.save(other / "images")
    (other / "labels/050.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (other / "data.yaml").write_text("test: images\nnames: [cow]\n")
    domains = {"far": {"yolo": {"file": str(other / "data.yaml")}}}
    asked = workload(Task.DETECTION, data | {"domains": domains})
    assert quick_look(asked).faults == ()
    from trainables.data.prepare import prepare_domain
    from trainables.data.prepared import open_prepared

    folder = prepare_domain(asked, "far", asked.data.domains["far"], CLASSES, size=SIZE)
    held = open_prepared(folder).splits[Split.TEST]
    assert held.labels(0).tolist() == [2]
    (other / "data.yaml").write_text("test: images\nnames: [emu]\n")
    with pytest.raises(DataError, match=r"data.domains.far.*the model has no class 'emu'"):
        prepare_domain(asked, "far", asked.data.domains["far"], CLASSES, size=SIZE)


def test_a_photo_is_upright_as_in_ultralytics(tmp_path: Path) -> None:
    data = train_of(tmp_path, "0 0.25 0.5 0.25 0.5\n", 8)
    turned = noise(0, 64, 32)  # stored; upright it is 32 high and 64 wide
    exif = turned.getexif()
    exif[0x0112] = 6
    (tmp_path / "images/train/000.png").unlink()
    turned.save(tmp_path / "images/train/000.jpg", exif=exif)
    held = prepared(Task.DETECTION, data, SIZE)
    assert "1 photo has an EXIF orientation, and no size says" in held.meta["warnings"][0]
    assert all(
        np.array_equal(part.boxes(i), [[8, 8, 16, 16]])
        for part in held.splits.values()
        for i in range(len(part))
    )


def test_rows_are_written_as_the_maker_says() -> None:
    assert yolo_rows(scenes(0, 1)[0]).count("\n") == len(scenes(0, 1)[0].boxes)
