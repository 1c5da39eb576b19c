from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import mask_folder, noise, prepared, save_mask
from PIL import Image

from trainables.data.files.mask_pixels import IGNORE
from trainables.data.masks import read_masks
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import MaskData, MaskPart, Split
from trainables.specs.workload import Task

CLASSES = ("background", "cell")


def _read(part: dict[str, str], **more: Any) -> dict[str, Any]:
    spec = MaskData(**({"train": MaskPart(**part), "classes": CLASSES} | more))
    return {s.name: s for s in read_masks(spec).parts[Split.TRAIN].samples}


def test_pairs_share_their_name_suffixes_aside(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 3)
    (Path(part["images"]) / "notes.txt").write_text("no image")
    (Path(part["images"]) / "._cell_000.jpg").write_bytes(b"a trace of another system")
    samples = _read(part)
    assert list(samples) == ["cell_000.jpg", "cell_001.jpg", "cell_002.jpg"]
    assert samples["cell_002.jpg"].mask().sum() == 7 * 12


@pytest.mark.parametrize(
    ("values", "ignore", "drawn", "expected"),
    [
        (None, None, [0, 1], [0, 1]),
        ((0, 255), None, [0, 255], [0, 1]),
        ((255, 0), None, [0, 255], [1, 0]),
        (None, 255, [1, 255], [1, IGNORE]),
        ((0, 255), 128, [255, 128], [1, IGNORE]),
        ((0, 1000), None, [0, 1000], [0, 1]),
    ],
)
def test_values(tmp_path: Path, values: Any, ignore: Any, drawn: list[int], expected: list[int]) -> None:
    part = mask_folder(tmp_path, 1)
    dtype = np.uint16 if max(drawn) > 255 else np.uint8
    save_mask(Path(part["masks"]) / "cell_000.png", np.array([drawn] * 40, dtype).repeat(20, axis=1))
    mask = _read(part, values=values, ignore=ignore)["cell_000.jpg"].mask()
    assert mask.dtype == np.uint8
    assert mask[0, [0, 39]].tolist() == expected


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "LA"])
def test_modes(tmp_path: Path, mode: str) -> None:
    part = mask_folder(tmp_path, 1)
    path = Path(part["masks"]) / "cell_000.png"
    wanted = np.asarray(Image.open(path))
    if mode == "P":
        palette = Image.fromarray(wanted).convert("P")
        palette.putdata(wanted.ravel().tolist())
        palette.putpalette([0, 0, 0, 200, 10, 30])
        palette.save(path)
        assert (_read(part)["cell_000.jpg"].mask() == wanted).all()
        return
    Image.fromarray(wanted * 255).convert(mode).save(path)
    assert (_read(part, values=(0, 255))["cell_000.jpg"].mask() == wanted).all()
    if mode == "1":
        assert (_read(part)["cell_000.jpg"].mask() == wanted).all()


def test_faults_are_listed_by_name(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 30, side=60)
    images, masks = Path(part["images"]), Path(part["masks"])
    save_mask(masks / "cell_000.png", np.zeros((60, 60), np.uint8))
    save_mask(masks / "cell_001.png", np.ones((20, 60), np.uint8))
    save_mask(masks / "cell_002.png", np.full((60, 60), 7, np.uint8))
    (masks / "cell_003.png").unlink()
    (masks / "cell_004.png").write_bytes(b"torn")
    (images / "cell_005.jpg").write_bytes(b"torn")
    (images / "cell_006.jpg").unlink()
    save_mask(masks / "cell_007.png", np.random.default_rng(0).integers(0, 2, (60, 60, 3), np.uint8))
    drop = dict.fromkeys(("missing_file", "bad_mask"), "drop")
    held = prepared(Task.SEGMENTATION, {"masks": {"train": part, "classes": list(CLASSES)}, "faults": drop})
    seen = {f["name"]: (f["fault"], f["detail"]) for f in held.meta["faults"]}
    assert {name: fault for name, (fault, _) in seen.items()} == {
        "cell_000.jpg": "empty_mask",
        "cell_001.jpg": "bad_mask",
        "cell_002.jpg": "bad_mask",
        "cell_003.jpg": "missing_file",
        "cell_004.jpg": "bad_mask",
        "cell_005.jpg": "unreadable_image",
        "cell_006.png": "missing_file",
        "cell_007.jpg": "bad_mask",
    }
    assert seen["cell_001.jpg"][1] == "a mask of 60×20 pixels for an image of 60×60"
    assert seen["cell_002.jpg"][1].startswith("values without a class: 7; every value needs a class")
    assert sum(held.meta["counts"].values()) == 22


def test_stop_lists_all_of_them(tmp_path: Path, cache: Path) -> None:
    part = mask_folder(tmp_path, 8)
    for name in ("cell_001", "cell_005"):
        save_mask(Path(part["masks"]) / f"{name}.png", np.full((40, 40), 7, np.uint8))
    (Path(part["masks"]) / "cell_003.png").unlink()
    with pytest.raises(DataError) as caught:
        prepared(Task.SEGMENTATION, {"masks": {"train": part, "classes": list(CLASSES)}})
    text = str(caught.value)
    assert "got 3" in text
    assert all(name in text for name in ("cell_001.jpg", "cell_003.jpg", "cell_005.jpg"))
    assert "data.faults.bad_mask, data.faults.missing_file: drop" in text
    assert not [p for p in (cache / "prepared").iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"values": (0,)}, "one value for each"),
        ({"values": (3, 3)}, "all different"),
        ({"values": (0, 70000)}, "0 to 65535"),
        ({"ignore": 1}, "ignore must not"),
        ({"classes": tuple(str(i) for i in range(256))}, "at most 255"),
    ],
)
def test_wrong_settings(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        _read(mask_folder(tmp_path, 1), **more)


def test_names_that_differ_by_suffix_alone_are_refused(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 1)
    noise(1).save(Path(part["images"]) / "cell_000.png")
    with pytest.raises(DataError, match="suffix"):
        _read(part)


def test_masks_are_resized_by_the_nearest_pixel(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 6)
    held = prepared(
        Task.SEGMENTATION, {"masks": {"train": part, "classes": list(CLASSES)}}, Resize.fixed(80, 120)
    )
    split = held.splits[Split.TRAIN]
    drawn = np.asarray(Image.open(Path(part["masks"]) / f"{Path(split.names[0]).stem}.png"))
    assert (split.mask(0) == drawn.repeat(2, axis=0).repeat(3, axis=1)).all()


def test_16_bit_images_keep_their_high_byte(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 1)
    Path(part["images"], "cell_000.jpg").unlink()
    save_mask(Path(part["images"]) / "cell_000.png", np.full((40, 40), 0x80FF, np.uint16))
    assert _read(part)["cell_000.png"].photo().image.getpixel((3, 3)) == (0x80,) * 3


def test_negative_images_are_kept_on_demand(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 12)
    masks = Path(part["masks"])
    save_mask(masks / "cell_000.png", np.zeros((40, 40), np.uint8))
    half = np.zeros((40, 40), np.uint8)
    half[:20] = 9
    save_mask(masks / "cell_001.png", half)
    save_mask(masks / "cell_002.png", np.full((40, 40), 9, np.uint8))
    source = {"masks": {"train": part, "classes": list(CLASSES), "ignore": 9}}
    dropped = prepared(Task.SEGMENTATION, source)
    assert {f["name"] for f in dropped.meta["faults"]} == {f"cell_00{i}.jpg" for i in range(3)}
    held = prepared(Task.SEGMENTATION, source | {"faults": {"empty_mask": "keep"}})
    assert [(f["name"], f["detail"]) for f in held.meta["faults"]] == [
        ("cell_002.jpg", "it holds nothing but ignored pixels")
    ]
    assert sum(held.meta["counts"].values()) == 11
    assert {"cell_000.jpg", "cell_001.jpg"} <= {n for split in held.splits.values() for n in split.names}


def test_void_behind_a_colour_key_stays_ignored(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 4)
    for path in Path(part["masks"]).iterdir():
        values = np.asarray(Image.open(path)).copy()
        values[30:] = 255
        Image.fromarray(values).save(path, transparency=255)
    for sample in _read(part, ignore=255).values():
        mask = sample.mask()
        assert mask is not None
        assert (mask[30:] == 255).all()
        assert set(np.unique(mask[:30]).tolist()) == {0, 1}
