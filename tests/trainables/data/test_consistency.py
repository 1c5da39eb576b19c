from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder, prepared
from PIL import Image

from trainables.data.consistency import wrong_form
from trainables.data.evidence import BoxForm, Claims, box_form
from trainables.data.sample import Annotations
from trainables.errors import DataError
from trainables.specs.workload import Task

SOUND = [[4, 5, 12, 10], [20, 8, 16, 24], [30, 2, 20, 9]]


def refused(tmp_path: Path, annotations: list[dict[str, Any]], count: int = 8) -> str:
    with pytest.raises(DataError) as error:
        prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, count, annotations=annotations)}})
    return str(error.value)


def corners(b: list[int]) -> list[int]:
    return [b[0], b[1], b[0] + b[2], b[1] + b[3]]


def polygon(b: list[int]) -> list[list[int]]:
    x0, y0, x1, y1 = corners(b)
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


@pytest.mark.parametrize("told_by", ["area", "segmentation", "borders"])
def test_corners_are_refused_whatever_shows_them(tmp_path: Path, told_by: str) -> None:
    entries = []
    for i in range(8):
        for b in SOUND:
            more: dict[str, Any] = {}
            if told_by == "area":
                more["area"] = b[2] * b[3]
            if told_by == "segmentation":
                more |= {"segmentation": polygon(b), "area": 1.5}
            entries.append(box(i, corners(b), **more))
    message = refused(tmp_path, entries)
    assert "boxes must be [x, y, width, height], but" in message
    assert "[x0, y0, x1, y1]" in message
    assert "convert them" in message


def test_corners_in_one_split_are_seen(tmp_path: Path) -> None:
    train = coco_folder(tmp_path / "a", 40)
    wrong = [box(i, corners(b), area=b[2] * b[3]) for i in range(50, 53) for b in SOUND]
    validation = coco_folder(tmp_path / "b", 3, annotations=wrong, start=50)
    with pytest.raises(DataError, match=r"validation: boxes must be \[x, y, width, height\]"):
        prepared(Task.DETECTION, {"coco": {"train": train, "validation": validation}})


def test_shares_are_refused(tmp_path: Path) -> None:
    entries = [box(i, [0.1, 0.2, 0.3, 0.4]) for i in range(8)]
    message = refused(tmp_path, entries)
    assert "8 of 8 lie within 0 to 1, as shares of the image do; multiply them" in message


def test_areas_of_another_size_are_refused(tmp_path: Path) -> None:
    entries = [box(i, b, area=16 * b[2] * b[3]) for i in range(8) for b in SOUND]
    assert "must agree with their own areas and polygons, but 24 of 24 do not" in refused(tmp_path, entries)


def test_single_contradictions_are_listed_and_kept(tmp_path: Path) -> None:
    entries = [box(i, b, area=0.7 * b[2] * b[3]) for i in range(8) for b in SOUND]
    entries[4]["segmentation"] = polygon([40, 30, 6, 6])
    held = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8, annotations=entries)}})
    assert [(f["name"], f["fault"], f["action"]) for f in held.meta["faults"]] == [
        ("image_001.png", "bad_box", "kept as it is")
    ]
    assert sum(held.meta["boxes"].values()) == 24


@pytest.mark.parametrize("area", [1.0, 0.6, None])
def test_sound_boxes_pass(tmp_path: Path, area: float | None) -> None:
    entries = [
        box(i, b, **({} if area is None else {"area": area * b[2] * b[3]}), segmentation=polygon(b))
        for i in range(8)
        for b in SOUND
    ]
    held = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8, annotations=entries)}})
    assert not held.meta["faults"]
    assert held.meta["warnings"] == ["no image shows this class: dog"]


def test_few_boxes_prove_nothing() -> None:
    assert wrong_form(BoxForm(count=2, fit=0, fit_otherwise=2), corners=False) is None
    assert wrong_form(BoxForm(), corners=True) is None


def test_a_box_that_fits_both_forms_speaks_for_neither() -> None:
    found = Annotations.of([[0, 0, 8, 8]], [0], [64.0], [False])
    form = box_form(Claims(found), (40, 60))
    assert (form.fit, form.fit_otherwise, form.agree, form.agree_otherwise) == (1, 1, 0, 0)


@pytest.mark.parametrize(("bits", "warned"), [(None, True), (12, False)])
def test_deep_images_that_use_few_bits_are_told_how_many(
    tmp_path: Path, bits: int | None, warned: bool
) -> None:
    part = coco_folder(tmp_path, 8)
    for path in Path(part["images"]).iterdir():
        Image.fromarray(np.asarray(Image.open(path).convert("L")).astype(np.uint16) << 4).save(path)
    held = prepared(Task.DETECTION, {"coco": {"train": part}} | ({} if bits is None else {"bits": bits}))
    assert bool(held.meta["warnings"]) is warned
    if warned:
        assert held.meta["warnings"][0].endswith("set data.bits: 12 to use the whole range")
    else:
        assert max(int(s.image(i).max()) for s in held.splits.values() for i in range(len(s))) > 200


@pytest.mark.parametrize("value", [1, 20])
def test_a_dark_data_set_is_doubted_and_a_black_one_refused(tmp_path: Path, value: int) -> None:
    part = mask_folder(tmp_path, 8)
    for i, path in enumerate(sorted(Path(part["images"]).iterdir())):
        Image.new("RGB", (40, 40), (0, 0, 0 if i else value)).save(path.with_suffix(".png"))
        path.unlink()
    data = {"masks": {"train": part, "classes": ["background", "thing"]}}
    if value == 1:
        with pytest.raises(DataError, match="must not be black, but no pixel of any image is above 1 of 255"):
            prepared(Task.SEGMENTATION, data)
    else:
        warnings = prepared(Task.SEGMENTATION, data).meta["warnings"]
        assert any(w.startswith("no pixel of any image is above 20 of 255") for w in warnings)


def test_eight_bits_in_sixteen_are_read_as_such_when_the_data_say_so(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 8)
    for path in Path(part["images"]).iterdir():
        Image.fromarray(np.asarray(Image.open(path).convert("L")).astype(np.uint16)).save(path)
    data: dict[str, Any] = {"coco": {"train": part}}
    with pytest.raises(DataError, match=r"must not be black.* set data\.bits: 8 to use the whole range"):
        prepared(Task.DETECTION, data)
    held = prepared(Task.DETECTION, data | {"bits": 8})
    assert held.meta["warnings"] == []
    assert max(int(s.image(i).max()) for s in held.splits.values() for i in range(len(s))) > 200


def test_one_picture_under_two_names_in_two_splits_is_told(tmp_path: Path) -> None:
    train, test = coco_folder(tmp_path / "a", 6), coco_folder(tmp_path / "b", 2, start=50)
    shutil.copyfile(Path(train["images"]) / "image_001.png", Path(test["images"]) / "image_050.png")
    splits = {"train": 0.85, "validation": 0.15, "test": 0.0}
    held = prepared(Task.DETECTION, {"coco": {"train": train, "test": test}, "splits": splits})
    (warning,) = held.meta["warnings"]
    assert warning.startswith("1 image is in two splits, in different files with the same pixels")
    assert "image_001.png" in warning
    assert "image_050.png" in warning


def test_a_palette_with_white_first_is_told(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 8)
    for path in Path(part["masks"]).iterdir():
        mask = Image.fromarray(np.asarray(Image.open(path)), "P")
        mask.putpalette([255] * 3 + [0] * 3)
        mask.save(path)
    source = {"masks": {"train": part, "classes": ["background", "thing"]}}
    (warning,) = prepared(Task.SEGMENTATION, source).meta["warnings"]
    assert warning.startswith("8 masks have a palette of two greys with the lighter one first")
    json.dumps(warning)


def test_a_class_that_is_never_trained_is_told(tmp_path: Path) -> None:
    train = [box(i, SOUND[0], category=3) for i in range(8)]
    validation = [box(i, SOUND[0], category=c) for i in (50, 51) for c in (3, 7)]
    data = {
        "train": coco_folder(tmp_path / "a", 8, annotations=train),
        "validation": coco_folder(tmp_path / "b", 2, annotations=validation, start=50),
    }
    assert prepared(Task.DETECTION, {"coco": data}).meta["warnings"] == [
        "validation shows classes that no training image shows: dog"
    ]


def centre(b: list[int]) -> list[float]:
    return [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]


def test_boxes_by_their_centre_are_refused_if_the_border_shows_them(tmp_path: Path) -> None:
    entries = [box(i, centre(b)) for i in range(8) for b in [*SOUND, [44, 20, 16, 18]]]
    message = refused(tmp_path, entries)
    assert "pass the border so, and as [centre x, centre y, width, height] all lie in their images" in message


def test_boxes_that_pass_the_border_are_listed_where_no_other_form_fits_all(tmp_path: Path) -> None:
    sloppy = [[0, 0, 12, 10], [50, 20, 14, 10]]
    entries = [box(i, b) for i in range(8) for b in sloppy]
    held = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8, annotations=entries)}})
    assert {f["action"] for f in held.meta["faults"]} == {"box cut to the image"}


def test_a_file_of_which_half_is_in_corners_is_refused(tmp_path: Path) -> None:
    entries = [
        box(i, corners(b) if i % 2 else b, area=b[2] * b[3], segmentation=polygon(b))
        for i in range(8)
        for b in SOUND
    ]
    assert "must agree with their own areas and polygons" in refused(tmp_path, entries)


def test_corners_in_turned_photos_are_refused(tmp_path: Path) -> None:
    """Boxes that were drawn upright are in the file's form, whatever the photo's orientation."""
    entries = [box(i, corners(b), area=b[2] * b[3]) for i in range(8) for b in SOUND]
    part = coco_folder(tmp_path, 8, annotations=entries)
    exif = Image.Exif()
    exif[0x0112] = 3
    for path in Path(part["images"]).iterdir():
        Image.open(path).save(path, exif=exif)
    with pytest.raises(DataError, match=r"they are \[x0, y0, x1, y1\]"):
        prepared(Task.DETECTION, {"coco": {"train": part}})


def test_classes_of_masks_that_are_never_trained_or_never_shown_are_told(tmp_path: Path) -> None:
    train, validation = mask_folder(tmp_path / "a", 8), mask_folder(tmp_path / "b", 4, side=30)
    for path in Path(validation["masks"]).iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * 2).save(path)
    data = {"train": train, "validation": validation, "classes": ["ground", "cell", "debris", "sky"]}
    held = prepared(Task.SEGMENTATION, {"masks": data})
    assert held.meta["warnings"] == [
        "validation shows classes that no training image shows: debris",
        "no image shows this class: sky",
    ]


def sound(tmp_path: Path, annotations: list[dict[str, Any]], count: int = 8) -> list[str]:
    """The warnings about a data set that is not refused."""
    part = coco_folder(tmp_path, count, annotations=annotations)
    held = prepared(Task.DETECTION, {"coco": {"train": part}})
    known = "no image shows this class"
    return [warning for warning in held.meta["warnings"] if not warning.startswith(known)]


WIDE = [[2, 3, 63, 41], [1, 4, 62, 39], [3, 2, 61, 43], [2, 2, 57, 37]]
"""Boxes that are careless at the border of 60×40 pixels, and would be boxes as corners too."""


@pytest.mark.parametrize("told_by", ["area", "segmentation", "nothing"])
def test_boxes_that_are_careless_at_the_border_are_not_taken_for_corners(
    tmp_path: Path, told_by: str
) -> None:
    more = {
        "area": lambda b: {"area": b[2] * b[3]},
        "segmentation": lambda b: {"segmentation": polygon(b)},
        "nothing": lambda b: {},
    }[told_by]
    assert not [
        w for w in sound(tmp_path, [box(i, b, **more(b)) for i in range(8) for b in WIDE]) if "?" not in w
    ]


@pytest.mark.parametrize("outlined", [True, False])
def test_boxes_at_the_border_may_be_centres_if_no_polygon_says_otherwise(
    tmp_path: Path, outlined: bool
) -> None:
    """A third of the boxes pass the border; as centres, all lie in their images."""
    boxes = [[20, 18, 20, 14], [25, 16, 30, 12], [44, 20, 24, 16]]
    entries = [
        box(i, b, **({"segmentation": polygon(b)} if outlined else {"area": b[2] * b[3]}))
        for i in range(8)
        for b in boxes
    ]
    warnings = sound(tmp_path, entries)
    assert warnings == [] if outlined else "as [centre x, centre y, width, height] all lie" in warnings[0]


def test_boxes_that_only_fill_a_place_are_no_shares(tmp_path: Path) -> None:
    entries = [box(i, [0, 0, 0, 0]) for i in range(30) for _ in range(4)]
    entries += [box(i, SOUND[0]) for i in range(30)]
    assert sound(tmp_path, entries, 30) == []


def test_whole_boxes_of_one_pixel_are_no_shares() -> None:
    pixels = Annotations.of([[0, 0, 1, 1], [1, 1, 1, 1]] * 10, [0] * 20, [np.nan] * 20, [False] * 20)
    assert wrong_form(box_form(Claims(pixels), (40, 60)), corners=False) is None


def test_shares_among_empty_and_whole_boxes_are_refused() -> None:
    some = [[0.5, 0.5, 0.2, 0.1]] * 8 + [[0, 0, 0, 0]] * 12 + [[0, 0, 1, 1]] * 8
    form = box_form(Claims(Annotations.of(some, [0] * 28, [np.nan] * 28, [False] * 28)), (40, 60))
    assert "8 of 16 lie within 0 to 1" in str(wrong_form(form, corners=False))


def test_a_few_wrong_boxes_in_a_split_of_one_file_are_only_listed(tmp_path: Path) -> None:
    """Chance may put the three wrong boxes of a file into a small split."""
    entries = [box(i, b, area=b[2] * b[3]) for i in range(30) for b in SOUND]
    held = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 30, annotations=entries)}})
    names = held.splits["validation"].names
    for entry in entries:
        if f"image_{entry['image_id']:03d}.png" in names:
            entry["area"] *= 16
    assert sound(tmp_path, entries, 30) == []


def test_a_few_wrong_boxes_in_a_file_of_its_own_prove_nothing(tmp_path: Path) -> None:
    train = coco_folder(tmp_path / "a", 40)
    entries = [box(i, b) for i in range(50, 53) for b in SOUND[:2]]
    for entry in entries[:3]:
        entry["area"] = 9000
    validation = coco_folder(tmp_path / "b", 3, annotations=entries, start=50)
    held = prepared(Task.DETECTION, {"coco": {"train": train, "validation": validation}})
    assert len(held.meta["faults"]) == 3


def test_whole_boxes_of_objects_that_are_partly_hidden_pass(tmp_path: Path) -> None:
    entries = []
    for i in range(8):
        for b in SOUND:
            seen = [b[0], b[1], b[2], b[3] // 3]
            entries.append(box(i, b, segmentation=polygon(seen), area=seen[2] * seen[3]))
    part = coco_folder(tmp_path, 8, annotations=entries)
    assert not prepared(Task.DETECTION, {"coco": {"train": part}}).meta["faults"]


def test_a_single_box_in_corners_around_its_polygon_is_listed(tmp_path: Path) -> None:
    entries = [box(i, b, segmentation=polygon(b)) for i in range(8) for b in SOUND]
    entries[0]["bbox"] = corners(SOUND[0])
    part = coco_folder(tmp_path, 8, annotations=entries)
    held = prepared(Task.DETECTION, {"coco": {"train": part}})
    assert [f["action"] for f in held.meta["faults"]] == ["kept as it is"]


@pytest.mark.parametrize("side", [0.5, 1.0, 2.0])
def test_a_polygon_elsewhere_does_not_speak_for_a_thin_box(side: float) -> None:
    thin = [[10, 5, side, 20]]
    apart = Annotations.of(thin, [0], [np.nan], [False], outlines=[[30, 5, side, 20]])
    form = box_form(Claims(apart), (40, 60))
    assert (form.outlined, form.agree, form.contradicted) == (0, 0, 1)
    same = Annotations.of(thin, [0], [np.nan], [False], outlines=thin)
    assert box_form(Claims(same), (40, 60)).outlined == 1


def test_boxes_that_were_drawn_from_polygons_do_not_speak_for_the_others(tmp_path: Path) -> None:
    entries = [box(i, corners(b)) for i in range(8) for b in SOUND]
    entries += [box(i, None, segmentation=polygon([15, 15, 6, 6])) for i in range(8)]
    with pytest.raises(DataError, match=r"as \[x0, y0, x1, y1\]"):
        sound(tmp_path, entries)
