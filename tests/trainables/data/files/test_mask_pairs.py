from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import mask_folder, prepared, save_mask
from PIL import Image

from trainables.data.files.mask_pairs import find_pairs
from trainables.errors import DataError
from trainables.specs.data import MaskPart
from trainables.specs.workload import Task

CLASSES = ["background", "cell"]


def source(part: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"masks": {"train": part, "classes": CLASSES} | more}


def renamed(folder: str, change: Any) -> None:
    for path in list(Path(folder).iterdir()):
        path.rename(path.with_name(change(path)))


def images_of(part: dict[str, str], suffix: str | None = None) -> dict[str, str]:
    pairs = find_pairs(MaskPart(**part), suffix, "data.masks.train").pairs
    return {pair.name: pair.mask.name for pair in pairs if pair.mask is not None}


@pytest.mark.parametrize("suffix", ["_mask", "_mask.png", "_MASK", "-GT.png", ".mask", "_v1.gt"])
def test_masks_may_have_a_suffix(tmp_path: Path, suffix: str) -> None:
    part = mask_folder(tmp_path, 8)
    end = suffix if suffix.endswith(".png") else f"{suffix}.png"
    renamed(part["masks"], lambda path: path.stem + end)
    held = prepared(Task.SEGMENTATION, source(part, suffix=suffix.lower()))
    assert sum(held.meta["counts"].values()) == 8
    assert not held.meta["faults"]


@pytest.mark.parametrize(("suffix", "end"), [("_mask", "_mask.png"), (".png", ".png"), ("_m.png", "_m.png")])
def test_images_and_masks_may_be_in_one_folder(tmp_path: Path, suffix: str, end: str) -> None:
    part = mask_folder(tmp_path, 8)
    for path in Path(part["masks"]).iterdir():
        path.rename(Path(part["images"]) / f"{path.stem}{end}")
    one = {"images": part["images"], "masks": part["images"]}
    assert images_of(one, suffix) == {f"cell_{i:03d}.jpg": f"cell_{i:03d}{end}" for i in range(8)}
    assert sum(prepared(Task.SEGMENTATION, source(one, suffix=suffix)).meta["counts"].values()) == 8


def test_one_folder_without_a_suffix_names_the_setting(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 4)
    with pytest.raises(DataError, match=r"in one folder, .*: set data\.masks\.suffix to what"):
        images_of({"images": part["images"], "masks": part["images"] + "/."})


def test_a_suffix_that_nobody_set_is_found(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 12)
    renamed(part["masks"], lambda path: f"{path.stem}_seg.png")
    with pytest.raises(DataError) as error:
        prepared(Task.SEGMENTATION, source(part))
    assert "masks are named like their image with '_seg': set data.masks.suffix: _seg" in str(error.value)
    assert "drop" not in str(error.value)


def test_another_beginning_is_told(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 12)
    renamed(part["masks"], lambda path: f"mask_{path.name}")
    with pytest.raises(DataError, match="named like their image with 'mask_' in front: rename them"):
        prepared(Task.SEGMENTATION, source(part))


@pytest.mark.parametrize(
    ("own", "masks", "hint"),
    [
        ("img_{}.jpg", "mask_{}.png", "images are named 'img_cell_…' and masks 'mask_cell_…': rename them"),
        ("{}_sat.jpg", "{}_mask.png", "images are named 'cell_…_sat' and masks 'cell_…_mask': rename them"),
        ("{}.jpg", "{}.PNG", "names differ in upper and lower case: rename the masks"),
    ],
)
def test_names_that_differ_on_both_sides_are_told(tmp_path: Path, own: str, masks: str, hint: str) -> None:
    part = mask_folder(tmp_path, 12)
    renamed(part["images"], lambda path: own.format(path.stem))
    upper = masks.endswith("PNG")
    renamed(part["masks"], lambda path: masks.format(path.stem.upper() if upper else path.stem))
    assert find_pairs(MaskPart(**part), None, "data.masks.train").hint.startswith(hint)


@pytest.mark.parametrize(
    ("end", "suffix", "said"),
    [
        (
            ".npy",
            None,
            r"must be a folder with masks as images.* has none, but files of '\.npy'; convert them",
        ),
        (".png", "_gt", r"must hold files that end with data\.masks\.suffix \('_gt'\), .*such as cell_0"),
    ],
)
def test_a_folder_without_masks_says_what_it_has(
    tmp_path: Path, end: str, suffix: str | None, said: str
) -> None:
    part = mask_folder(tmp_path, 3)
    renamed(part["masks"], lambda path: path.stem + end)
    with pytest.raises(DataError, match=rf"data\.masks\.train\.masks {said}"):
        find_pairs(MaskPart(**part), suffix, "data.masks.train")


def test_names_that_do_not_resemble_get_no_hint(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 4)
    renamed(part["masks"], lambda path: f"x{hash(path.name)}.png")
    assert find_pairs(MaskPart(**part), None, "data.masks.train").hint == ""


def test_letters_that_systems_store_otherwise_are_the_same(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 1)
    form = "é"
    renamed(part["images"], lambda path: unicodedata.normalize("NFC", f"{form}.jpg"))
    renamed(part["masks"], lambda path: unicodedata.normalize("NFD", f"{form}.png"))
    assert len(images_of(part)) == 1


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    near, far = mask_folder(tmp_path / "near", 6), mask_folder(tmp_path / "far", 6)
    for key in ("images", "masks"):
        (Path(near[key]) / "more").symlink_to(far[key])
        (Path(near[key]) / "circle").symlink_to(near[key])
    # The pixels must differ, or the second six would be told as copies of the first.
    for i, path in enumerate(sorted(Path(far["images"]).iterdir())):
        Image.fromarray(np.random.default_rng(100 + i).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    held = prepared(Task.SEGMENTATION, source(near))
    assert sum(held.meta["counts"].values()) == 12
    assert not held.meta["warnings"]


@pytest.mark.parametrize("kind", ["link", "hard link", "linked folder"])
def test_an_image_that_is_there_twice_counts_once(tmp_path: Path, kind: str) -> None:
    part = mask_folder(tmp_path, 8)
    for key in ("images", "masks"):
        if kind == "linked folder":
            inner = Path(part[key]) / "all"
            inner.mkdir()
            for path in list(Path(part[key]).glob("*.*")):
                path.rename(inner / path.name)
            (Path(part[key]) / "again").symlink_to(inner)
            continue
        for path in list(Path(part[key]).iterdir()):
            again = path.with_name(f"again_{path.name}")
            if kind == "link":
                again.symlink_to(path)
            else:
                os.link(path, again)
    held = prepared(Task.SEGMENTATION, source(part))
    assert sum(held.meta["counts"].values()) == 8
    assert held.meta["warnings"][0].startswith("data.masks.train: 8 of the images are links to others")


def test_two_parts_may_not_share_a_file_through_a_hard_link(tmp_path: Path) -> None:
    train, test = mask_folder(tmp_path / "a", 6), mask_folder(tmp_path / "b", 2)
    copy = Path(test["images"]) / "cell_000.jpg"
    copy.unlink()
    os.link(Path(train["images"]) / "cell_003.jpg", copy)
    data = {"masks": {"train": train, "test": test, "classes": CLASSES}}
    with pytest.raises(DataError, match="no image may be in two parts"):
        prepared(Task.SEGMENTATION, data | {"splits": {"train": 0.8, "validation": 0.2, "test": 0.0}})


@pytest.mark.parametrize(
    ("values", "spec", "hint"),
    [
        ([0, 255], {}, r"set data\.masks\.values: \[0, 255\]"),
        ([0, 1, 255], {}, r"as in Pascal VOC, set data\.masks\.ignore: 255"),
        ([3, 90], {}, r"if these are grey values, set data\.masks\.values: \[3, 90\]"),
        ([0, 255, 7], {"values": [0, 255]}, "every value needs a class"),
        ([0, 255], {"values": [0, 1]}, r"set data\.masks\.values: \[0, 255\]"),
        ([0, 90], {"values": [0, 255]}, r"if these are grey values, set data\.masks\.values: \[0, 90\]"),
    ],
)
def test_values_without_a_class_get_a_way_out(
    tmp_path: Path, values: list[int], spec: dict[str, Any], hint: str
) -> None:
    part = mask_folder(tmp_path, 4)
    for path in Path(part["masks"]).iterdir():
        save_mask(path, np.array([values] * 40, np.uint8).repeat(40 // len(values) + 1, axis=1)[:, :40])
    with pytest.raises(DataError, match=hint):
        prepared(Task.SEGMENTATION, source(part, **spec))


def test_a_lossy_mask_is_named(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 4)
    for path in list(Path(part["masks"]).iterdir()):
        mask = np.asarray(Image.open(path)) * 255
        path.unlink()
        Image.fromarray(mask).save(path.with_suffix(".jpg"), quality=60)
    with pytest.raises(DataError, match="it is a JPEG file, which changes values"):
        prepared(Task.SEGMENTATION, source(part, values=[0, 255]))


def test_the_background_may_be_any_class(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 8)
    classes = {"classes": ["cell", "ground"], "background": "ground"}
    for path in Path(part["masks"]).iterdir():
        save_mask(path, 1 - np.asarray(Image.open(path)))
    empty = np.ones((40, 40), np.uint8)
    save_mask(Path(part["masks"]) / "cell_000.png", empty)
    held = prepared(Task.SEGMENTATION, {"masks": {"train": part} | classes})
    assert [(f["name"], f["detail"]) for f in held.meta["faults"]] == [
        ("cell_000.jpg", "it holds nothing but ground")
    ]


def test_a_background_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"background must be one of classes \(background, cell\), got 'x'"):
        prepared(Task.SEGMENTATION, source({"images": "a", "masks": "b"}, background="x"))
