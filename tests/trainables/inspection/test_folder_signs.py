from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_makers import coco_folder, mask_folder, noise

from trainables.inspection.inspection import Inspection
from trainables.specs.workload import Task

Inspect = Callable[..., Inspection]


def texts(found: Inspection) -> str:
    return "\n".join(sign.text for sign in found.signs)


def test_images_that_no_file_lists(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 4)
    noise(50).save(tmp_path / "images" / "left_out.png")
    assert "1 of 5 images in" in texts(look({"coco": {"train": part}}))
    assert "is in no annotation file (left_out.png)" in texts(look({"coco": {"train": part}}))


def test_a_folder_that_parts_share_has_no_unlisted_images(look: Inspect, tmp_path: Path) -> None:
    first = coco_folder(tmp_path, 4)
    second = coco_folder(tmp_path, 3, start=4)
    assert "no annotation file" not in texts(look({"coco": {"train": first, "validation": second}}))


def test_links_are_followed_and_said(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path / "near", 3)
    far = mask_folder(tmp_path / "far", 5)
    for kind in ("images", "masks"):
        (Path(part[kind]) / "b").symlink_to(Path(far[kind]), target_is_directory=True)
    found = look({"masks": {"train": part, "classes": ["background", "cell"]}}, Task.SEGMENTATION)
    assert sum(p.used for p in found.parts) == 8
    assert "b in " in texts(found)
    assert "it is followed, with 5 files" in texts(found)


def test_a_link_that_became_text_is_said(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path / "near", 3)
    mask_folder(tmp_path / "far", 5)
    (Path(part["images"]) / "b").write_text("../../far/images")
    (Path(part["images"]) / "notes.txt").write_text("no path of anything")
    said = texts(look({"masks": {"train": part, "classes": ["background", "cell"]}}, Task.SEGMENTATION))
    assert "is no image but a text file with the path ../../far/images, which exists" in said
    assert "notes.txt" not in said
