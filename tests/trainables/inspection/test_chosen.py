from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from data_makers import box, coco_folder

from trainables.inspection.inspection import Inspection

Inspect = Callable[..., Inspection]


def test_faults_first_but_not_alone(look: Inspect, tmp_path: Path) -> None:
    wrong = [box(i, [4, 5, 12, 10] if i >= 15 else [50, 5, 30, 10]) for i in range(30)]
    found = look({"coco": {"train": coco_folder(tmp_path, 30, annotations=wrong)}}, images=8)
    assert len(found.chosen) == 8
    assert [chosen.faulty for chosen in found.chosen] == [True] * 4 + [False] * 4


def test_one_image_of_each_kind_of_fault(look: Inspect, tmp_path: Path) -> None:
    wrong = [box(i, [4, 5, 12, 10] if i >= 10 else [50, 5, 30, 10]) for i in range(20)]
    part = coco_folder(tmp_path, 20, annotations=wrong)
    (tmp_path / "images" / "image_019.png").write_bytes(b"no image")
    found = look({"coco": {"train": part}}, images=8)
    assert any("unreadable_image" in why for chosen in found.chosen for why in chosen.why)


def test_every_class_and_every_part_is_shown(look: Inspect, tmp_path: Path) -> None:
    rare = [box(i, [4, 5, 12, 10], category=7 if i == 13 else 3) for i in range(20)]
    found = look({"coco": {"train": coco_folder(tmp_path, 20, annotations=rare)}}, images=4)
    assert found.chosen[0].image.name == "image_013.png"
    assert {chosen.image.label for chosen in found.chosen} == {"train", "validation", "test"}


@pytest.mark.parametrize("images", [1, 3, 20, 50])
def test_never_more_than_asked_or_there_are(look: Inspect, tmp_path: Path, images: int) -> None:
    found = look({"coco": {"train": coco_folder(tmp_path, 20)}}, images=images)
    assert len(found.chosen) == min(images, 20)
    assert len({id(chosen.image) for chosen in found.chosen}) == len(found.chosen)
