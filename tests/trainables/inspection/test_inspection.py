from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_makers import box, coco_folder, mask_folder
from PIL import Image

from trainables.inspection.inspection import Inspection
from trainables.specs.workload import Task

Inspect = Callable[..., Inspection]


def test_counts_of_boxes_by_part_and_class(look: Inspect, tmp_path: Path) -> None:
    found = look({"coco": {"train": coco_folder(tmp_path, 10)}})
    assert not found.refusals
    assert not found.findings
    assert {p.label: p.images for p in found.parts} == {"train": 6, "validation": 2, "test": 2}
    assert sum(p.boxes for p in found.parts) == 20
    assert {c.name: (c.objects, c.images) for c in found.classes} == {"cat": (10, 10), "dog": (10, 10)}
    assert [c.sizes for c in found.classes] == [(10, 0, 0), (10, 0, 0)]
    assert found.sizes == (((40, 60), (40, 60), 10),)
    assert not found.size_known


def test_pixels_of_masks_at_the_models_size(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 8)
    data = {"masks": {"train": part, "classes": ["background", "cell"]}}
    found = look(data, Task.SEGMENTATION, model="embedded")
    assert found.size_known
    assert found.sizes[0][:2] == ((40, 40), (64, 64))
    assert found.background == 0
    shares = {c.name: c.pixels for c in found.classes}
    assert shares["background"] + shares["cell"] == pytest.approx(1)
    # 12 columns of 5 to 12 rows of 40 by 40 pixels
    assert shares["cell"] == pytest.approx(12 * 8.5 / 1600, abs=0.01)


def test_refused_data_are_still_shown(look: Inspect, tmp_path: Path) -> None:
    corners = [box(i, [4, 5, 40, 35], area=36 * 30) for i in range(8)]
    found = look({"coco": {"train": coco_folder(tmp_path, 8, annotations=corners)}})
    assert len(found.refusals) == 1
    assert "boxes must be [x, y, width, height]" in found.refusals[0]
    assert sum(p.used for p in found.parts) == 8
    assert len(found.chosen) == 8


def test_all_refusals_are_collected(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 6)
    for name in ("image_001.png", "image_004.png"):
        (tmp_path / "images" / name).unlink()
    found = look({"coco": {"train": part}}, model="/no/such/model")
    assert len(found.refusals) == 2
    assert "no/such/model" in found.refusals[0]
    assert "must have no errors with the rule 'stop', got 2" in found.refusals[1]
    assert sum(p.used for p in found.parts) == 4
    assert {"image_001.png", "image_004.png"} <= {c.image.name for c in found.chosen}


def test_a_part_that_training_would_not_read_with_the_others(look: Inspect, tmp_path: Path) -> None:
    own = coco_folder(tmp_path / "a", 4)
    other = coco_folder(tmp_path / "b", 4, start=10)
    file = Path(other["annotations"])
    file.write_text(file.read_text().replace('"cat"', '"Cat"'))
    found = look({"coco": {"train": own, "validation": other}})
    assert len(found.refusals) == 1
    assert "did you mean 'cat'?" in found.refusals[0]
    assert [c.name for c in found.classes] == ["cat", "dog", "Cat"]
    assert {p.label: p.used for p in found.parts} == {"train": 4, "validation": 4}
    assert [c.by_part for c in found.classes] == [(4, 0), (4, 4), (0, 4)]


def test_data_of_which_nothing_can_be_read_show_their_files(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 3)
    Path(part["annotations"]).write_text("{")
    found = look({"coco": {"train": part}})
    assert "COCO JSON" in found.refusals[0]
    assert not found.parts
    assert [c.image.name for c in found.chosen] == [f"image_{i:03d}.png" for i in range(3)]
    assert [p.image.size for p in found.pictures()] == [(720, 480)] * 3


def test_the_objective_without_a_value_is_a_refusal(look: Inspect, tmp_path: Path) -> None:
    data = {"coco": {"train": coco_folder(tmp_path, 8)}}
    found = look(data, metric="map_large")
    assert found.refusals == (
        "objective.metric map_large: validation has no large box (an annotated area of at least 9216 square "
        "pixels), so that the metric has no value there; add such images to it, or use another objective",
    )
    assert look(data, metric="map/cow").refusals[0].startswith("objective.metric map/cow: there is no class")
    assert not look(data, metric="map_small").refusals


def test_the_objective_of_masks(look: Inspect, tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 8)
    data = {"masks": {"train": part, "classes": ["background", "cell", "vessel"]}}
    assert not look(data, Task.SEGMENTATION, metric="dice").refusals
    refused = look(data, Task.SEGMENTATION, metric="dice/vessel").refusals
    assert len(refused) == 1
    assert "validation has no pixel of class vessel" in refused[0]


def test_too_few_images_are_left(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 4)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no image")
    found = look({"coco": {"train": part}})
    assert any("train must have images, but none of its 2 is left" in text for text in found.refusals)
    assert len(found.findings) == 4


def test_domains_are_parts_and_their_leaks_are_found(look: Inspect, tmp_path: Path) -> None:
    own, shifted = coco_folder(tmp_path / "own", 6), coco_folder(tmp_path / "shifted", 3, start=20)
    copied = Path(shifted["images"]) / "image_020.png"
    shutil.copyfile(Path(own["images"]) / "image_000.png", copied)
    data = {"coco": {"train": own}, "domains": {"stain": {"coco": shifted}, "dim": {"corruption": DIM}}}
    found = look(data)
    assert [p.label for p in found.parts] == ["train", "validation", "test", "test@stain"]
    leaks = [leak for leak in found.leaks if leak.across]
    assert len(leaks) == 1
    assert leaks[0].places[-1] == ("test@stain", "image_020.png")


DIM = {"kind": "contrast", "severity": 2}


def test_embedded_domains_show_the_same_scenes_which_is_no_leak(look: Inspect) -> None:
    data = {
        "embedded": {"train": 6, "validation": 2, "test": 2},
        "domains": {"textured": {"embedded": "textured"}},
    }
    found = look(data, model="embedded")
    assert "test@textured" in [p.label for p in found.parts]
    assert not found.leaks
    assert not found.refusals
    assert found.mapping is not None
    assert found.mapping.verdict.startswith("the checkpoint's head is kept")


def test_the_record_is_json_with_everything(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 6)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "images" / "image_000.png")
    record = json.loads(json.dumps(look({"coco": {"train": part}}, model="embedded").record()))
    assert record["faults"]["count"] == 1
    assert record["faults"]["first"][0]["name"] == "image_000.png"
    assert record["parts"][0]["sizes"].keys() == {"small", "medium", "large"}
    assert record["checkpoint_classes"]["labels"] == 10
    assert record["shown"][0] == {
        "part": record["faults"]["first"][0]["split"],
        "name": "image_000.png",
        "why": [
            "unreadable_image: it is 5×5 pixels but annotated as 60×40 (image dropped)",
        ],
    }


def test_masks_of_objects_are_drawn_and_what_has_none_is_said(look: Inspect, tmp_path: Path) -> None:
    outline = [[4, 6, 16, 6, 16, 16, 4, 16]]
    listed = [box(i, [4, 6, 12, 10], segmentation=outline) for i in range(8)]
    listed.append(box(0, [30, 20, 8, 8]))
    data = {"coco": {"train": coco_folder(tmp_path, 8, annotations=listed)}}
    found = look(data, Task.INSTANCE_SEGMENTATION)
    assert [(f.name, str(f.fault)) for f in found.findings] == [("image_000.png", "bad_mask")]
    assert "has no polygon or mask" in found.refusals[0]
    boxes = look(data, Task.DETECTION)
    pairs = {p.title: p.image for p in boxes.pictures()}
    for picture in found.pictures():  # the same boxes, with masks in them
        one, other = np.asarray(picture.image), np.asarray(pairs[picture.title])
        assert one.shape == other.shape
        assert (one != other).any()
