from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from data_makers import mask_folder, workload

from trainables.data.sample import Annotations, DataPart
from trainables.data.sources import divide_parts, read_source
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.data_splits import SplitSpec
from trainables.specs.workload import Task


@dataclass(frozen=True)
class Named:
    name: str

    @property
    def origin(self) -> str:
        return self.name

    def photo(self) -> Any: ...
    def mask(self, photo: Any = None) -> None: ...
    def annotations(self, photo: Any = None) -> Annotations:
        return Annotations.none()


def _names(parts: dict[Split, DataPart]) -> dict[Split, set[str]]:
    return {split: {s.name for s in part.samples} for split, part in parts.items()}


def _divided(
    count: int = 200, spec: SplitSpec | None = None, given: dict[Split, DataPart] | None = None
) -> dict[Split, set[str]]:
    train = DataPart([Named(f"image_{i}") for i in range(count)])  # type: ignore[list-item]
    return _names(divide_parts({Split.TRAIN: train} | (given or {}), spec or SplitSpec()))


def test_parts_are_disjoint_whole_and_stable() -> None:
    parts = _divided()
    assert not any(parts[a] & parts[b] for a, b in combinations(Split, 2))
    assert [len(parts[split]) for split in Split] == [140, 30, 30]
    assert set().union(*parts.values()) == {f"image_{i}" for i in range(200)}
    assert _divided() == parts
    assert _divided(spec=SplitSpec(seed=1)) != parts


def test_the_order_of_files_does_not_matter() -> None:
    samples = [Named(f"image_{i}") for i in range(50)]
    one = divide_parts({Split.TRAIN: DataPart(samples)}, SplitSpec())  # type: ignore[arg-type]
    other = divide_parts({Split.TRAIN: DataPart(samples[::-1])}, SplitSpec())  # type: ignore[arg-type]
    assert _names(one) == _names(other)


def test_test_is_the_same_whatever_the_other_shares() -> None:
    parts = _divided()
    assert _divided(spec=SplitSpec(train=0.35, validation=0.5, test=0.15))[Split.TEST] == parts[Split.TEST]


def test_one_more_image_hardly_moves_the_others() -> None:
    before, after = _divided(200), _divided(201)
    moved = [n for split in Split for n in before[split] if n not in after[split]]
    assert len(moved) <= 2


def test_given_parts_are_left_alone() -> None:
    given = DataPart([Named("other")])  # type: ignore[list-item]
    parts = _divided(given={Split.VALIDATION: given})
    assert parts[Split.VALIDATION] == {"other"}
    assert parts[Split.TEST] == _divided()[Split.TEST]
    assert len(parts[Split.TRAIN]) == 170


def test_no_share_no_part() -> None:
    assert _divided(spec=SplitSpec(train=0.8, validation=0.2, test=0.0))[Split.TEST] == set()


def test_folds_validate_every_image_once_and_leave_the_test_images_alone() -> None:
    folds = [_divided(spec=SplitSpec(folds=4, fold=i)) for i in range(4)]
    test = _divided()[Split.TEST]
    assert all(parts[Split.TEST] == test for parts in folds)
    for parts in folds:
        assert not any(parts[a] & parts[b] for a, b in combinations(Split, 2))
        assert set().union(*parts.values()) == {f"image_{i}" for i in range(200)}
    assert sorted(len(parts[Split.VALIDATION]) for parts in folds) == [42, 42, 43, 43]
    validated = [name for parts in folds for name in parts[Split.VALIDATION]]
    assert sorted(validated) == sorted({f"image_{i}" for i in range(200)} - test)
    other = _divided(spec=SplitSpec(folds=4, seed=1))
    assert other[Split.VALIDATION] != folds[0][Split.VALIDATION]


def test_folds_of_a_source_that_gives_its_test_images() -> None:
    given = DataPart([Named("other")])  # type: ignore[list-item]
    parts = _divided(10, SplitSpec(folds=5, fold=1), {Split.TEST: given})
    assert [len(parts[split]) for split in Split] == [8, 2, 1]


def test_folds_that_cannot_be() -> None:
    given = DataPart([Named("other")])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"^data.splits.folds: divides the images of train, but"):
        _divided(given={Split.VALIDATION: given}, spec=SplitSpec(folds=3))
    with pytest.raises(DataError, match="20 folds need at least as many images, but test leaves 8"):
        _divided(10, SplitSpec(folds=20))
    with pytest.raises(ValueError, match="fold must be 0 to 2 of 3 folds, got 3"):
        SplitSpec(folds=3, fold=3)
    with pytest.raises(ValueError, match="fold 1 needs folds"):
        SplitSpec(fold=1)


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="it has only 2"):
        _divided(2)


def test_a_source_of_the_other_task_is_refused(tmp_path: Path) -> None:
    masks = {"masks": {"train": mask_folder(tmp_path / "m", 3), "classes": ["a", "b"]}}
    with pytest.raises(
        DataError,
        match="'detection' needs data of embedded, coco, hub, yolo, voc, labelme or folder, got masks",
    ):
        read_source(workload(Task.DETECTION, masks).data, Task.DETECTION)
    voc = {"voc": {"train": {"images": str(tmp_path), "annotations": str(tmp_path)}}}
    with pytest.raises(
        DataError,
        match="'segmentation' needs data of embedded, masks, hub, coco, yolo, labelme or folder, got voc",
    ):
        read_source(workload(Task.SEGMENTATION, voc).data, Task.SEGMENTATION)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A file's name is bytes; one in another encoding would fail where prepared data hold it as text."""
    part = mask_folder(tmp_path, 3)
    for kind, suffix in (("images", ".jpg"), ("masks", ".png")):
        os.rename(f"{part[kind]}/cell_001{suffix}", os.fsencode(part[kind]) + b"/caf\xe9" + suffix.encode())
    data = workload(Task.SEGMENTATION, {"masks": {"train": part, "classes": ["background", "cell"]}}).data
    with pytest.raises(DataError, match=r"names of images must be UTF-8 text, but 'caf\\udce9.jpg' is not"):
        read_source(data, Task.SEGMENTATION)
