"""Whatever a file holds, a reader names what is wrong: a DataError or a listed fault, never another error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import prepared, workload
from format_makers import Parts, as_coco, as_labelme, as_voc, as_yolo, scenes

from trainables.data.quick_check import quick_look
from trainables.errors import DataError
from trainables.specs.workload import Task

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 3, 1e400, float("nan"), 10**30, "", "x", "\0", "../..", "7",
    [], [[]], {}, [1, 2], {"a": 1},
)  # fmt: skip
"""Values in place of those that a file should hold."""
ROUNDS = 60


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each value inside."""
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield from places(inner, (*at, place))


def with_junk(value: Any, rng: np.random.Generator) -> Any:
    """The value with one inner value replaced, or gone."""
    changed = copy.deepcopy(value)
    all_ = [place for place in places(changed) if place]
    *above, last = all_[int(rng.integers(len(all_)))]
    inner = changed
    for key in above:
        inner = inner[key]
    if isinstance(inner, dict) and rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = JUNK[int(rng.integers(len(JUNK)))]
    return changed


def small() -> Parts:
    return {"train": scenes(0, 4), "validation": scenes(5, 2)}


def read(task: Task, data: dict[str, Any]) -> str:
    """The error, or what was listed; '' if nothing was wrong. A quick look finds faults, and never fails."""
    quick_look(workload(task, data))
    try:
        return str(prepared(task, data).meta["faults"] or "")
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("task", [Task.DETECTION, Task.SEGMENTATION])
@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_json_with_junk_in_one_place(tmp_path: Path, task: Task, kind: str) -> None:
    data = (as_coco if kind == "coco" else as_labelme)(tmp_path / "set", small())
    file = tmp_path / ("set/train.json" if kind == "coco" else "set/train/000.json")
    for name in ("train", "validation") if kind == "coco" else ():
        held = json.loads((tmp_path / f"set/{name}.json").read_text())
        for each in held["annotations"]:
            x, y, w, h = each["bbox"]
            each["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
        (tmp_path / f"set/{name}.json").write_text(json.dumps(held))
    sound = json.loads(file.read_text())
    said = set()
    for seed in range(ROUNDS):
        file.write_text(json.dumps(with_junk(sound, np.random.default_rng(seed))))
        said.add(read(task, data))
    assert len(said) > 10


def test_a_data_yaml_with_junk_in_one_place(tmp_path: Path) -> None:
    data = as_yolo(tmp_path, small())
    sound = {
        "path": ".",
        "train": "images/train",
        "val": "images/val",
        "names": {"0": "ape", "1": "bee", "2": "cow"},
    }
    said = set()
    for seed in range(ROUNDS):
        junk = with_junk(sound, np.random.default_rng(seed))
        (tmp_path / "data.yaml").write_text(json.dumps(junk))
        said.add(read(Task.DETECTION, data))
    assert len(said) > 10


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_text_with_other_letters_in_some_places(tmp_path: Path, kind: str) -> None:
    data = (as_yolo if kind == "yolo" else as_voc)(tmp_path, small())
    file = tmp_path / ("labels/train/000.txt" if kind == "yolo" else "Annotations/000.xml")
    sound = file.read_bytes()
    said = set()
    for seed in range(ROUNDS):
        rng = np.random.default_rng(seed)
        changed = bytearray(sound)
        for place in rng.integers(len(sound), size=3):
            changed[place] = int(rng.integers(256))
        file.write_bytes(bytes(changed))
        said.add(read(Task.DETECTION, data))
    assert len(said) > 10
