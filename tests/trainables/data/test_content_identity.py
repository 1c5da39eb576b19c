"""The fingerprint by content: what is the same data, and what is not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import SMALL, coco_folder, mask_folder, prepared, workload
from PIL import Image

from trainables.data import prepare as preparing
from trainables.data.content_identity import differing_files, source_content
from trainables.data.prepare import fingerprint, prepare_data
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task

CLASSES = ["ground", "cell"]


def masks(part: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"masks": {"train": part, "classes": CLASSES} | more}


def name_of(task: Task, data: dict[str, Any]) -> str:
    return fingerprint(workload(task, data), SMALL)


def tiff_masks(root: Path, *, mirrored: bool) -> dict[str, str]:
    """Six images with uncompressed masks; every file has one size and one time."""
    part = mask_folder(root, 6)
    for old in Path(part["masks"]).iterdir():
        drawn = np.asarray(Image.open(old)) * 1
        drawn = drawn[:, ::-1] if mirrored else drawn
        Image.fromarray(np.ascontiguousarray(drawn)).save(old.with_suffix(".tif"), compression=None)
        old.unlink()
    for path in root.rglob("*.*"):
        os.utime(path, ns=(10**18, 10**18))
    return part


def test_mended_masks_of_the_same_size_and_time_are_prepared_anew(tmp_path: Path) -> None:
    root = tmp_path / "data"
    wrong = prepared(Task.SEGMENTATION, masks(tiff_masks(root, mirrored=True)))
    sizes = {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*.tif")}
    shutil.rmtree(root)
    right = prepared(Task.SEGMENTATION, masks(tiff_masks(root, mirrored=False)))
    assert {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*.tif")} == sizes
    assert right.path != wrong.path
    mirrored, mended = (held.splits[Split.TRAIN].mask(0) for held in (wrong, right))
    assert (mended[:, ::-1] == mirrored).mean() > 0.9  # but for the resizing
    assert not (mended == mirrored).all()


@pytest.mark.parametrize("task", [Task.SEGMENTATION, Task.DETECTION])
def test_a_copy_elsewhere_with_other_times_is_the_same_data(tmp_path: Path, task: Task) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    part = mask_folder(one, 6) if task is Task.SEGMENTATION else coco_folder(one, 6)
    shutil.copytree(one, two, copy_function=shutil.copyfile)
    linked = tmp_path / "three"
    linked.symlink_to(two)

    def at(root: Path) -> str:
        moved = {key: value.replace(str(one), str(root)) for key, value in part.items()}
        return name_of(task, masks(moved) if task is Task.SEGMENTATION else {"coco": {"train": moved}})

    assert at(one) == at(two) == at(linked)


def test_files_that_are_not_used_do_not_count(tmp_path: Path) -> None:
    part = mask_folder(tmp_path / "drawn", 6)
    name = name_of(Task.SEGMENTATION, masks(part))
    for extra in ("notes.txt", "Thumbs.db", ".hidden.png"):
        (Path(part["images"]) / extra).write_text("not an image of the data")
    assert name_of(Task.SEGMENTATION, masks(part)) == name
    listed = coco_folder(tmp_path / "listed", 6)
    name = name_of(Task.DETECTION, {"coco": {"train": listed}})
    (Path(listed["images"]) / "of_another_set.png").write_text("not listed")
    assert name_of(Task.DETECTION, {"coco": {"train": listed}}) == name


def first_image(part: dict[str, str]) -> Path:
    return min(Path(part["images"]).iterdir())


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize("change", [grown, Path.unlink, lambda path: path.rename(path.with_name("z.png"))])
@pytest.mark.parametrize("task", [Task.SEGMENTATION, Task.DETECTION])
def test_other_content_or_names_are_other_data(
    tmp_path: Path, task: Task, change: Callable[[Path], object]
) -> None:
    part = mask_folder(tmp_path, 6) if task is Task.SEGMENTATION else coco_folder(tmp_path, 6)
    data = masks(part) if task is Task.SEGMENTATION else {"coco": {"train": part}}
    name = name_of(task, data)
    change(first_image(part))
    assert name_of(task, data) != name


def test_a_listed_image_that_comes_later_under_a_similar_name_is_other_data(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 6)
    first_image(part).unlink()
    name = name_of(Task.DETECTION, {"coco": {"train": part}})
    (Path(part["images"]) / "IMAGE_000.PNG").write_text("one that a reader might take for it")
    assert name_of(Task.DETECTION, {"coco": {"train": part}}) != name


def test_settings_without_paths_count(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 6)
    name = name_of(Task.SEGMENTATION, masks(part))
    assert name_of(Task.SEGMENTATION, masks(part, values=[0, 1])) != name
    assert name_of(Task.SEGMENTATION, masks(part, ignore=255)) != name
    assert name_of(Task.SEGMENTATION, masks(part, test=part)) != name
    assert name_of(Task.SEGMENTATION, masks(part, test=part)) != name_of(
        Task.SEGMENTATION, masks(part, validation=part)
    )


def test_what_a_part_lacks_is_named_with_its_key(tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 6)
    for key in ("images", "annotations"):
        with pytest.raises(DataError, match=rf"data\.coco\.train\.{key} must be"):
            name_of(Task.DETECTION, {"coco": {"train": part | {key: str(tmp_path / "nowhere")}}})


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"images": 7}', '{"images": [{"file_name": 3}]}'])
def test_a_file_that_is_no_coco_json_is_the_readers_to_refuse(tmp_path: Path, text: str) -> None:
    part = coco_folder(tmp_path, 6)
    Path(part["annotations"]).write_text(text)
    name_of(Task.DETECTION, {"coco": {"train": part}})
    with pytest.raises(DataError, match=r"must be a COCO JSON|must hold a list|must have"):
        prepare_data(workload(Task.DETECTION, {"coco": {"train": part}}), size=SMALL)


# --- domains and a local copy of a hub data set -----------------------------------------------


def test_a_domain_counts_by_content_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, shifted = mask_folder(tmp_path / "own", 6), mask_folder(tmp_path / "shifted", 4)
    asked = workload(Task.SEGMENTATION, masks(part) | {"domains": {"stain": {"masks": shifted}}})

    def folder() -> Path:
        return preparing.prepare_domain(asked, "stain", asked.data.domains["stain"], CLASSES, size=SMALL)

    first = folder()
    for path in Path(shifted["masks"]).iterdir():
        os.utime(path, ns=(1, 1))
    assert folder() == first
    one, other = sorted(Path(shifted["masks"]).iterdir())[:2]
    shutil.copyfile(other, one)
    os.utime(one, ns=(1, 1))
    assert folder() != first


def test_a_local_copy_of_a_hub_data_set_counts_by_content(tmp_path: Path) -> None:
    (tmp_path / "one" / "data").mkdir(parents=True)
    file = tmp_path / "one" / "data" / "train.parquet"
    file.write_text("rows")
    os.utime(file, ns=(10**18, 10**18))

    def at(root: Path) -> str:
        return name_of(Task.DETECTION, {"hub": {"path": str(root)}})

    name = at(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    assert at(tmp_path / "two") == name
    file.write_text("ROWS")
    os.utime(file, ns=(10**18, 10**18))
    assert at(tmp_path / "one") != name


# --- while and after data are prepared --------------------------------------------------------


def test_data_that_change_while_they_are_prepared_are_refused_and_leave_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = mask_folder(tmp_path / "data", 6)
    write = preparing._write

    def changed(*arguments: Any, **named: Any) -> None:
        write(*arguments, **named)
        grown(first_image(part))

    monkeypatch.setattr(preparing, "_write", changed)
    with pytest.raises(DataError, match="changed while they were prepared"):
        prepared(Task.SEGMENTATION, masks(part))
    assert not [path for path in (cache / "prepared").iterdir() if path.is_dir()]


def test_files_that_differ_are_named(tmp_path: Path) -> None:
    part = mask_folder(tmp_path / "data", 6)
    asked = workload(Task.SEGMENTATION, masks(part))
    held = prepare_data(asked, size=SMALL)
    assert differing_files(held, source_content(asked.data)) == []
    images = Path(part["images"])
    grown(images / "cell_003.jpg")
    (images / "cell_004.jpg").rename(images / "cell_009.jpg")
    assert differing_files(held, source_content(asked.data)) == [
        "train images: cell_003.jpg is another file",
        "train images: cell_004.jpg is missing",
        "train images: cell_009.jpg is new",
    ]
    (held / "content.json").unlink()
    assert differing_files(held, {}) is None


def test_the_names_in_a_large_annotation_file_are_parsed_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = coco_folder(tmp_path, 6)
    name = name_of(Task.DETECTION, {"coco": {"train": part}})
    (kept,) = (cache / "digests").glob("names-*.json")
    assert json.loads(kept.read_text()) == [f"image_{i:03d}.png" for i in range(6)]
    kept.write_text("{")
    assert name_of(Task.DETECTION, {"coco": {"train": part}}) == name
