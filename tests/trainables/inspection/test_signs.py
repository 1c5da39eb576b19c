from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder
from PIL import Image
from turned_photos import save_photo

from trainables.inspection.inspection import Inspection
from trainables.specs.workload import Task

Inspect = Callable[..., Inspection]


def texts(found: Inspection) -> str:
    return "\n".join(sign.text for sign in found.signs)


def test_sound_data_show_no_sign(look: Inspect, tmp_path: Path) -> None:
    found = look({"coco": {"train": coco_folder(tmp_path, 30)}})
    assert [sign.text for sign in found.signs if not sign.text.startswith("train: ")] == []
    assert "show no object" not in texts(found)


def test_boxes_counted_from_one(look: Inspect, tmp_path: Path) -> None:
    from_one = [box(i, [1, 1 + i % 3, 12, 10]) for i in range(24)]
    found = look({"coco": {"train": coco_folder(tmp_path / "a", 24, annotations=from_one)}})
    assert "near the left or upper border are at pixel 1 and not at 0" in texts(found)
    assert next(sign for sign in found.signs if "counted from 1" in sign.text).images
    from_zero = [box(i, [0, i % 3, 12, 10]) for i in range(24)]
    assert "counted from 1" not in texts(
        look({"coco": {"train": coco_folder(tmp_path / "b", 24, annotations=from_zero)}})
    )


def test_boxes_that_pass_the_far_border_by_one(look: Inspect, tmp_path: Path) -> None:
    wide = [box(i, [10, 10, 51, 31]) for i in range(24)]
    found = look({"coco": {"train": coco_folder(tmp_path, 24, annotations=wide)}})
    assert "pass it by one pixel" in texts(found)
    assert not found.findings  # a pixel is rounding to the reader


@pytest.mark.parametrize(("step", "word"), [(1, "larger"), (-1, "smaller")])
def test_boxes_taken_from_outlines(look: Inspect, tmp_path: Path, step: int, word: str) -> None:
    polygon = [[5, 6, 25, 6, 25, 26, 5, 26]]
    drawn = [box(i, [5, 6, 20 + step, 20 + step], segmentation=polygon) for i in range(24)]
    found = look({"coco": {"train": coco_folder(tmp_path, 24, annotations=drawn)}})
    assert f"boxes are one pixel {word} than their polygons" in texts(found)


def test_boxes_shifted_against_outlines(look: Inspect, tmp_path: Path) -> None:
    polygon = [[5, 6, 25, 6, 25, 26, 5, 26]]
    drawn = [box(i, [6, 7, 20, 20], segmentation=polygon) for i in range(24)]
    found = look({"coco": {"train": coco_folder(tmp_path, 24, annotations=drawn)}})
    assert "boxes lie +1 and +1 pixels (right, down) from their polygons" in texts(found)


def test_unlabelled_images_and_a_last_class_without_use(look: Inspect, tmp_path: Path) -> None:
    few = [box(i, [4, 5, 12, 10], category=3) for i in range(4)]
    found = look({"coco": {"train": coco_folder(tmp_path, 20, annotations=few)}})
    assert "show no object; are these negative examples" in texts(found)
    # Category 7 has the larger id, so it is the last class.
    assert "the last class, 'dog', is never used" in texts(found)


def test_empty_masks_that_are_kept_are_unlabelled(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 10)
    for i in range(6):
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "masks" / f"cell_{i:03d}.png")
    masks = {"masks": {"train": part, "classes": ["background", "cell"]}, "faults": {"empty_mask": "keep"}}
    found = look(masks, Task.SEGMENTATION)
    assert sum(p.unlabelled for p in found.parts) == 6
    assert "show no object" in texts(found)


def test_a_dropped_box_does_not_make_its_image_unlabelled(look: Inspect, tmp_path: Path) -> None:
    outside = [box(i, [4, 5, 12, 10] if i > 4 else [100, 100, 5, 5]) for i in range(20)]
    found = look({"coco": {"train": coco_folder(tmp_path, 20, annotations=outside)}})
    assert len(found.findings) == 5
    assert sum(p.unlabelled for p in found.parts) == 0


def test_imbalance(look: Inspect, tmp_path: Path) -> None:
    many = [box(i, [4 + k, 5, 12, 10], category=3) for i in range(10) for k in range(5)]
    many += [box(i, [20, 20, 12, 10], category=7) for i in range(2)]
    found = look({"coco": {"train": coco_folder(tmp_path, 10, annotations=many)}})
    assert "50 objects of 'cat' and 2 of 'dog', 25 times as many" in texts(found)


def test_repeated_whole_and_tiny_boxes(look: Inspect, tmp_path: Path) -> None:
    odd = [box(i, [4, 5, 4, 4], area=16 + k) for i in range(6) for k in range(2)]
    odd += [box(i, [0, 0, 60, 40], category=7) for i in range(6)]
    said = texts(look({"coco": {"train": coco_folder(tmp_path, 6, annotations=odd)}}))
    assert "6 images have boxes of one class twice in the same place (6 repeated boxes)" in said
    assert "6 of 18 boxes cover their whole image" in said
    assert "12 of 18 boxes are less than 8 pixels wide or high" in said


def test_all_crowds(look: Inspect, tmp_path: Path) -> None:
    crowds = [box(i, [4, 5, 12, 10], iscrowd=1) for i in range(8)]
    said = texts(look({"coco": {"train": coco_folder(tmp_path, 8, annotations=crowds)}}))
    assert "boxes are crowds (`iscrowd: 1`), so that nothing can be learned" in said


def test_turned_photos_are_said_and_shown(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 4, sizes=[(20, 30)], annotations=[box(i, [1, 2, 6, 5]) for i in range(4)])
    save_photo(tmp_path / "images" / "image_001.png", 6)
    found = look({"coco": {"train": part}})
    sign = next(s for s in found.signs if "EXIF" in s.text)
    assert "1 image has an EXIF orientation (1 × orientation 6)" in sign.text
    assert [image.name for image in sign.images] == ["image_001.png"]


def test_transparent_masks_are_said(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 5)
    painted = np.full((40, 40, 4), 255, np.uint8)
    painted[:20, :, 3] = 0
    for i in range(5):
        Image.fromarray(painted).save(tmp_path / "masks" / f"cell_{i:03d}.png")
    data = {"masks": {"train": part, "classes": ["background", "cell"], "values": [0, 255]}}
    said = texts(look(data, Task.SEGMENTATION))
    assert "transparent parts of the mask, where nothing was painted, count as background: 5 images" in said


def test_masks_that_are_mostly_ignored(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 5)
    mostly = np.full((40, 40), 255, np.uint8)
    mostly[:5] = 1
    Image.fromarray(mostly).save(tmp_path / "masks" / "cell_002.png")
    data = {"masks": {"train": part, "classes": ["background", "cell"], "ignore": 255}}
    assert "1 mask has more ignored pixels than others" in texts(look(data, Task.SEGMENTATION))
