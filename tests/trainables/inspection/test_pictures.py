from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder
from PIL import Image

from trainables.inference.drawing import class_colour
from trainables.inspection.inspection import Inspection
from trainables.inspection.pictures import GROUND, ORANGE, RED, contact_sheet
from trainables.specs.workload import Task

Inspect = Callable[..., Inspection]


def has(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture.convert("RGB")) == colour).all(axis=2).any())


def test_boxes_at_the_models_size(look: Inspect, tmp_path: Path) -> None:
    pictures = look({"coco": {"train": coco_folder(tmp_path, 3)}}, model="embedded").pictures()
    assert [p.image.size for p in pictures] == [(512, 512)] * 3  # 64 pixels, each drawn as 8
    assert all("2 boxes of cat, dog; 60×40, seen as 64×64" in p.shows for p in pictures)
    assert has(pictures[0].image, class_colour(0))
    assert not has(pictures[0].image, GROUND)


@pytest.mark.parametrize(
    "given", [[20, 5, 100, 10], [-30, 5, 20, 10], [30, 10, -12, 5], [5, 5, 0, 0]], ids=str
)
def test_wrong_boxes_are_drawn_and_named(look: Inspect, tmp_path: Path, given: list[int]) -> None:
    part = coco_folder(tmp_path, 3, annotations=[box(i, [4, 5, 12, 10] if i else given) for i in range(3)])
    found = look({"coco": {"train": part}})
    picture = next(p for p in found.pictures() if p.title.endswith("image_000.png"))
    assert picture.faulty
    assert "1 box of cat, 1 of them wrong" in picture.shows
    assert picture.why.startswith("bad_box: box 0 [")
    outside = given[0] < 0 or given[0] + given[2] > 60
    assert has(picture.image, GROUND) is outside


def test_a_box_without_four_numbers_is_counted(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 3, annotations=[box(i, [4, 5, 12, 10]) for i in range(3)] + [box(0, "x")])
    shows = {p.title.split()[-1]: p.shows for p in look({"coco": {"train": part}}).pictures()}
    assert "and 1 without four numbers" in shows["image_000.png"]


def test_masks_with_background_elsewhere_and_ignored_pixels(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 3)
    mask = np.full((40, 40), 1, np.uint8)  # the background
    mask[:10] = 0
    mask[10:20] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "cell_001.png")
    data = {"masks": {"train": part, "classes": ["cell", "background"], "ignore": 255}}
    pictures = look(data, Task.SEGMENTATION).pictures()
    shows = {p.title.split()[-1]: p.shows for p in pictures}
    assert shows["cell_001.jpg"].startswith("mask of background 50.0 %, cell 25.0 %, ignored 25.0 %")
    assert all(not p.faulty for p in pictures)


def test_what_cannot_be_read_is_shown_as_its_file_opens(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 5)
    images = tmp_path / "images"
    Image.new("RGB", (30, 30), "red").save(images / "image_000.png")  # of another size
    (images / "image_001.png").write_bytes(b"no image")
    (images / "image_002.png").unlink()
    found = {p.title.split()[-1]: p for p in look({"coco": {"train": part}}).pictures()}
    assert found["image_000.png"].shows == "the file as it is (30×30)"
    assert has(found["image_000.png"].image, (255, 0, 0))
    for name in ("image_001.png", "image_002.png"):
        assert found[name].shows == "no picture, as the image cannot be read"
        assert found[name].faulty
    assert "there is no file" in found["image_002.png"].why


def test_a_wrong_mask_is_shown_next_to_its_image(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 3)
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(tmp_path / "masks" / "cell_001.png")
    found = look({"masks": {"train": part, "classes": ["background", "cell"]}}, Task.SEGMENTATION)
    picture = next(p for p in found.pictures() if p.title.endswith("cell_001.jpg"))
    assert picture.shows == "the file as it is (40×40, 40×40)"
    assert picture.image.width > 1.9 * picture.image.height
    assert "bad_mask" in picture.why


def test_the_sheet_frames_faults_and_signs(look: Inspect, tmp_path: Path) -> None:
    sound = look({"coco": {"train": coco_folder(tmp_path / "a", 6)}}).pictures()
    sheet = contact_sheet(sound, "a title of some length " * 20)
    assert sheet.width == 4 * (360 + 12) + 12
    assert not has(sheet, RED)
    wrong = [box(i, [4, 5, 12, 10] if i else [50, 5, 30, 10]) for i in range(6)]
    faulty = look({"coco": {"train": coco_folder(tmp_path / "b", 6, annotations=wrong)}}).pictures()
    assert has(contact_sheet(faulty, "mine"), RED)
    tiny = [box(i, [4, 5, 4, 4]) for i in range(6)]
    signed = look({"coco": {"train": coco_folder(tmp_path / "c", 6, annotations=tiny)}}).pictures()
    assert has(contact_sheet(signed, "mine"), ORANGE)
    assert contact_sheet([], "nothing").width > 0


def test_narrow_images_have_a_ground(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 3, annotations=[])
    file = Path(part["annotations"])
    file.write_text(file.read_text().replace('"height": 40, "width": 60', '"height": 0, "width": 0'))
    for name, size in (("image_000.png", (2, 3000)), ("image_001.png", (3000, 1)), ("image_002.png", (1, 1))):
        Image.new("RGB", size, "red").save(tmp_path / "images" / name)
    for picture in look({"coco": {"train": part}}).pictures():
        assert max(picture.image.size) <= 3 * min(picture.image.size)
        assert has(picture.image, (255, 0, 0))
