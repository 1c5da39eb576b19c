from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from data_makers import coco_folder, noise

from trainables.inspection.inspection import Inspection
from trainables.inspection.leaks import LeakKind

Inspect = Callable[..., Inspection]


def test_one_file_in_two_parts_is_refused_and_shown(look: Inspect, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 3)
    found = look({"coco": {"train": part, "validation": part}})
    assert "no image may be in two parts" in found.refusals[0]
    leaks = [leak for leak in found.leaks if leak.kind is LeakKind.SAME_FILE]
    assert len(leaks) == 3
    assert all(leak.across for leak in leaks)
    assert leaks[0].text() == "train image_000.png = validation image_000.png"


def test_equal_pixels_and_equal_names(look: Inspect, tmp_path: Path) -> None:
    own, other = coco_folder(tmp_path / "a", 4), coco_folder(tmp_path / "b", 4)
    for name in ("image_001.png", "image_002.png", "image_003.png"):
        noise(100 + int(name[8])).save(Path(other["images"]) / name)
    splits = {"train": 0.8, "validation": 0.2, "test": 0}
    found = look({"coco": {"train": own, "validation": other}, "splits": splits})
    across = [leak for leak in found.leaks if leak.across]
    assert [leak.kind for leak in across] == [LeakKind.SAME_PIXELS, *[LeakKind.SAME_NAME] * 3]
    assert across[0].places == (("train", "image_000.png"), ("validation", "image_000.png"))
    # An equal name alone is no fault of an image, so it does not come before others.
    assert [c.image.name for c in found.chosen[:2]] == ["image_000.png", "image_000.png"]


def test_copies_within_a_part_come_last(look: Inspect, tmp_path: Path) -> None:
    own, other = coco_folder(tmp_path / "a", 5), coco_folder(tmp_path / "b", 3, start=10)
    images = Path(own["images"])
    shutil.copyfile(images / "image_000.png", images / "image_001.png")
    shutil.copyfile(images / "image_002.png", Path(other["images"]) / "image_010.png")
    data = {
        "coco": {"train": own, "validation": other},
        "splits": {"train": 0.8, "validation": 0.2, "test": 0},
    }
    leaks = look(data).leaks
    assert [(leak.kind, leak.across) for leak in leaks] == [
        (LeakKind.SAME_PIXELS, True),
        (LeakKind.SAME_PIXELS, False),
    ]
