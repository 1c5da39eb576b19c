from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import prepared
from turned_photos import BOX, as_stored, box_as_stored, object_mask, save_photo

from trainables.data.prepared import Prepared
from trainables.data.resize import Resize
from trainables.specs.data import Split
from trainables.specs.workload import Task

OBLONG, SQUARE = (20, 30), (24, 24)
OWN_SIZE = Resize.edges(20)


def boxes_of(tmp_path: Path, photos: list[dict[str, Any]], *, outlined: bool = False) -> Prepared:
    """Prepared data of photos: orientation, size, drawn ('upright' or 'stored'), declared or not."""
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for i, asked in enumerate(photos):
        orientation, (height, width) = asked["orientation"], asked.get("size", OBLONG)
        save_photo(tmp_path / "images" / f"{i}.png", orientation, height, width)
        stored = asked["drawn"] == "stored"
        size = as_stored(object_mask(height, width), orientation).size[::-1] if stored else (height, width)
        entry: dict[str, Any] = {"id": i, "file_name": f"{i}.png"}
        if asked.get("declared", True):
            entry |= {"height": size[0], "width": size[1]}
        images.append(entry)
        box = box_as_stored(orientation, height, width) if stored else list(BOX)
        annotations.append({"id": i, "image_id": i, "category_id": 1, "bbox": box})
        if outlined:
            x, y, w, h = box
            annotations[-1]["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    file = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "a.json").write_text(json.dumps(file))
    part = {"images": str(tmp_path / "images"), "annotations": str(tmp_path / "a.json")}
    return prepared(Task.DETECTION, {"coco": {"train": part}}, OWN_SIZE)


def assert_on_objects(held: Prepared) -> None:
    for split in held.splits.values():
        for i in range(len(split)):
            assert split.boxes(i).tolist() == [list(BOX)], split.names[i]
            assert tuple(split.original_sizes[i]) in (OBLONG, SQUARE)


def doubts(held: Prepared) -> list[str]:
    """What is said of photos of which nothing says how they were annotated; these photos are all alike."""
    return [w.partition(", and no size")[0] for w in held.meta["warnings"] if "no size says which way" in w]


@pytest.mark.parametrize("drawn", ["upright", "stored"])
def test_an_oblong_photo_says_itself_how_it_was_annotated(tmp_path: Path, drawn: str) -> None:
    photos = [{"orientation": 5 + i % 4, "drawn": drawn} for i in range(8)]
    assert_on_objects(boxes_of(tmp_path, photos))


@pytest.mark.parametrize("size", [OBLONG, SQUARE])
def test_what_does_not_say_it_was_annotated_upright_as_tools_show_it(tmp_path: Path, size: Any) -> None:
    turns = [2, 3, 4] if size == OBLONG else list(range(2, 9))
    photos = [{"orientation": turns[i % len(turns)], "drawn": "upright", "size": size} for i in range(8)]
    held = boxes_of(tmp_path, photos)
    assert_on_objects(held)
    assert doubts(held) == ["8 photos have an EXIF orientation"]


@pytest.mark.parametrize("drawn", ["upright", "stored"])
def test_the_others_of_a_file_follow_those_that_say_it(tmp_path: Path, drawn: str) -> None:
    photos = [{"orientation": 3, "drawn": drawn} for _ in range(4)]
    photos += [{"orientation": 8, "drawn": drawn, "size": SQUARE} for _ in range(4)]
    photos += [{"orientation": 6, "drawn": drawn}]
    held = boxes_of(tmp_path, photos)
    assert_on_objects(held)
    assert not doubts(held)


def test_outlines_turn_with_their_boxes(tmp_path: Path) -> None:
    photos = [{"orientation": 5 + i % 4, "drawn": "stored"} for i in range(8)]
    held = boxes_of(tmp_path, photos, outlined=True)
    assert_on_objects(held)
    assert not held.meta["faults"]


@pytest.mark.parametrize("orientation", [6, 8])
def test_without_a_size_boxes_must_lie_in_the_image(tmp_path: Path, orientation: int) -> None:
    """The object is at the left of an upright landscape, so on stored pixels it is at an end."""
    photos = [
        {"orientation": orientation, "drawn": "stored", "size": (8, 60), "declared": False} for _ in range(8)
    ]
    held = boxes_of(tmp_path, photos)
    split = held.splits[Split.TRAIN]
    if orientation == 8:  # only there does the box leave the upright image
        assert split.boxes(0).tolist() == [list(BOX)]
    assert not [f for f in held.meta["faults"] if f["action"] == "image dropped"]


def test_two_customs_in_one_file_leave_the_others_undecided(tmp_path: Path) -> None:
    photos: list[dict[str, Any]] = [{"orientation": 1, "drawn": "upright"} for _ in range(6)]
    photos += [{"orientation": 6, "drawn": drawn} for drawn in ("upright", "stored")]
    photos += [{"orientation": 3, "drawn": "upright"}]
    held = boxes_of(tmp_path, photos)
    assert [(f["name"], f["fault"]) for f in held.meta["faults"]] == [("8.png", "unreadable_image")]
    assert "cannot be told which way its annotations were drawn" in held.meta["faults"][0]["detail"]
    assert_on_objects(held)


@pytest.mark.parametrize(
    ("drawn", "tagged"),
    # Upright pixels under a tag that turns them are known by their size only: see below.
    [("upright", False), ("stored", False), ("stored", True)],
)
@pytest.mark.parametrize("size", [OBLONG, SQUARE])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_lie_on_the_objects(
    tmp_path: Path, orientation: int, size: tuple[int, int], drawn: str, tagged: bool
) -> None:
    """One sideways oblong pair shows how the masks of the folder were drawn."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(8):
        turn, shape = (6, OBLONG) if i == 0 else (orientation, size)
        save_photo(tmp_path / "images" / f"{i}.png", turn, *shape)
        mask = object_mask(*shape) if drawn == "upright" else as_stored(object_mask(*shape), turn)
        exif = mask.getexif()
        if tagged:
            exif[0x0112] = turn
        mask.save(tmp_path / "masks" / f"{i}.png", exif=exif)
    part = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    source = {"masks": {"train": part, "classes": ["background", "thing"]}}
    held = prepared(Task.SEGMENTATION, source, OWN_SIZE)
    assert not held.meta["faults"]
    for split in held.splits.values():
        for i in range(len(split)):
            bright = split.image(i)[..., 0] > 140
            assert (bright == (split.mask(i) == 1)).mean() > 0.97
            assert split.mask(i).any()


def test_an_upright_mask_with_the_photo_s_tag_is_known_by_its_size(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(8):
        save_photo(tmp_path / "images" / f"{i}.png", 6)
        mask = object_mask()
        exif = mask.getexif()
        exif[0x0112] = 6
        mask.save(tmp_path / "masks" / f"{i}.png", exif=exif)
    part = {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    held = prepared(
        Task.SEGMENTATION, {"masks": {"train": part, "classes": ["background", "thing"]}}, OWN_SIZE
    )
    split = held.splits[Split.TRAIN]
    assert (split.mask(0) == np.asarray(object_mask())).all()
