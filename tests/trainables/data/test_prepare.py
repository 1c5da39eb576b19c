from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data_makers import SMALL, coco_folder, mask_folder, prepared, save_mask, workload
from PIL import Image

from trainables.data import prepare as preparing
from trainables.data.prepare import cache_root, fingerprint, prepare_data
from trainables.data.resize import Resize
from trainables.errors import DataError, StorageError
from trainables.specs.data import Split
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import Task

DIGITS = {"embedded": {"train": 6, "validation": 3, "test": 2, "side": 32}}


def _folders(cache: Path) -> list[Path]:
    return [path for path in (cache / "prepared").iterdir() if path.is_dir()]


def test_a_second_time_finds_the_folder(cache: Path) -> None:
    asked = workload(Task.DETECTION, DIGITS)
    path = prepare_data(asked, size=SMALL)
    assert path == cache / "prepared" / fingerprint(asked, SMALL)
    before = {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    assert prepare_data(asked, size=SMALL) == path
    assert {p.name: p.stat().st_mtime_ns for p in path.iterdir()} == before
    arrows = {"train.arrow", "validation.arrow", "test.arrow"}
    assert set(before) == {*arrows, "meta.json", "pixels.json", "splits.json"}


def test_the_same_data_gives_the_same_bytes(cache: Path) -> None:
    asked = workload(Task.SEGMENTATION, DIGITS)
    path = prepare_data(asked, size=SMALL)
    once = {p.name: p.read_bytes() for p in path.iterdir()}
    shutil.rmtree(path)
    assert {p.name: p.read_bytes() for p in prepare_data(asked, size=SMALL).iterdir()} == once


def test_the_record_names_every_image_of_every_split(tmp_path: Path) -> None:
    held = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path / "c", 20)}})
    names = json.loads((held.path / "splits.json").read_text())
    assert sorted(name for part in names.values() for name in part) == [
        f"image_{i:03d}.png" for i in range(20)
    ]
    assert {split: held.splits[split].names for split in Split} == {Split(k): v for k, v in names.items()}
    assert held.meta["fingerprint"] == held.path.name
    assert held.meta["size"] == {"height": 32, "width": 48, "multiple_of": 1}


def test_what_the_fingerprint_depends_on(tmp_path: Path) -> None:
    part = coco_folder(tmp_path / "one", 6)
    base = workload(Task.DETECTION, {"coco": {"train": part}})
    name = fingerprint(base, SMALL)

    def other(**more: Any) -> str:
        return fingerprint(workload(Task.DETECTION, {"coco": {"train": part}} | more), SMALL)

    assert other() == name
    assert fingerprint(base, Resize.fixed(32, 32)) != name
    assert other(splits={"seed": 1}) != name
    assert other(faults={"bad_box": "stop"}) != name
    # The model's name, the objective and the location of the data do not matter.
    assert fingerprint(base.model_copy(update={"objective": base.objective}), SMALL) == name
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    moved = {k: v.replace("/one/", "/two/") for k, v in part.items()}
    assert fingerprint(workload(Task.DETECTION, {"coco": {"train": moved}}), SMALL) == name
    os.utime(Path(part["images"]) / "image_003.png", ns=(1, 1))  # nor do times
    assert fingerprint(base, SMALL) == name
    Path(part["annotations"]).write_text(Path(part["annotations"]).read_text() + " ")
    assert fingerprint(base, SMALL) != name


def test_an_experiment_that_began_before_keeps_its_fingerprint_of_sizes_and_times(tmp_path: Path) -> None:
    """The names as the version before wrote them, so that its prepared data are found again."""
    for name, content in {"images/a.png": "1", "masks/a.png": "22", "list.json": "[]"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(10**18, 10**18))
    images, masks = str(tmp_path / "images"), str(tmp_path / "masks")
    coco = {"coco": {"train": {"images": images, "annotations": str(tmp_path / "list.json")}}}
    drawn = {"masks": {"train": {"images": images, "masks": masks}, "classes": ["ground", "cell"]}}

    def before(task: Task, data: dict[str, Any]) -> str:
        return fingerprint(workload(task, data).model_copy(update={"definitions": BEFORE}), SMALL)

    assert before(Task.DETECTION, coco) == "0552c9444fb121c5aeb2"
    assert before(Task.SEGMENTATION, drawn) == "d9b0d90823c3f042fdf0"
    os.utime(tmp_path / "images" / "a.png", ns=(1, 1))
    assert before(Task.SEGMENTATION, drawn) != "d9b0d90823c3f042fdf0"


def test_a_mended_fault_prepares_anew(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 8)
    data = {"masks": {"train": part, "classes": ["ground", "cell"]}}
    broken = Path(part["masks"]) / "cell_004.png"
    whole = broken.read_bytes()
    save_mask(broken, Image.new("L", (3, 3)))
    with pytest.raises(DataError, match=r"cell_004\.jpg"):
        prepared(Task.SEGMENTATION, data)
    broken.write_bytes(whole)
    assert sum(prepared(Task.SEGMENTATION, data).meta["counts"].values()) == 8


def test_what_a_killed_process_left_is_cleared(cache: Path) -> None:
    asked = workload(Task.DETECTION, DIGITS)
    name = fingerprint(asked, SMALL)
    for folder in (cache / "prepared" / name, cache / "prepared" / f".{name}.tmp"):
        folder.mkdir(parents=True)
        (folder / "train.arrow").write_bytes(b"half")
    path = prepare_data(asked, size=SMALL)
    assert (path / "meta.json").is_file()
    assert _folders(cache) == [path]


def test_nothing_left_of_a_part(tmp_path: Path, cache: Path) -> None:
    part = coco_folder(tmp_path / "c", 6)
    for image in Path(part["images"]).iterdir():
        image.write_bytes(b"torn")
    with pytest.raises(
        DataError, match=r"train must have images, but none of its 4 is left; 6 errors"
    ) as caught:
        prepared(Task.DETECTION, {"coco": {"train": part}})
    assert "image_005.png" in str(caught.value)
    with pytest.raises(DataError, match="train must have boxes"):
        prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path / "d", 6, annotations=[])}})
    assert _folders(cache) == []


def test_a_file_that_cannot_grow_leaves_nothing(cache: Path) -> None:
    data = {"embedded": {"train": 40, "validation": 3, "test": 2, "side": 32}}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="ADAPTERTUNE_CACHE"):
            prepare_data(workload(Task.DETECTION, data), size=SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _folders(cache) == []
    assert prepare_data(workload(Task.DETECTION, data), size=SMALL).is_dir()


def test_a_full_disk_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = preparing.write_split

    def full(path: Path, rows: Any, schema: Any) -> tuple[int, int]:
        write(path, rows, schema)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(preparing, "write_split", full)
    with pytest.raises(StorageError, match="No space left on device"):
        prepare_data(workload(Task.DETECTION, DIGITS), size=SMALL)
    assert _folders(cache) == []


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="ADAPTERTUNE_CACHE"):
        prepare_data(workload(Task.DETECTION, DIGITS), size=SMALL)


def test_the_cache_s_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADAPTERTUNE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache/adaptertune"


PREPARES = """
import sys
from trainables.specs.workload import Workload
from trainables.data.prepare import prepare_data
from trainables.data.resize import Resize
workload = Workload.model_validate_json(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
path = prepare_data(workload, size=Resize.fixed(32, 48))
print(path, (path / "meta.json").stat().st_ino, "torch" in sys.modules)
"""


def test_two_processes_at_once_make_one_folder(cache: Path) -> None:
    asked = workload(Task.DETECTION, {"embedded": {"train": 300, "validation": 5, "test": 5, "side": 48}})
    command = [sys.executable, "-c", PREPARES, asked.model_dump_json()]
    root = Path(__file__).resolve().parents[3]
    both = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    # One result: the second process found the first one's file, and did not write its own.
    assert len(answers) == 1
    path, _, torch = answers.pop().split()
    assert _folders(cache) == [Path(path)]
    assert torch == "False"
