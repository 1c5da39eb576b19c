from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from data_makers import SMALL, coco_folder, mask_folder, prepared, workload

from trainables.data import prepare as preparing
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task


def test_opening_takes_milliseconds() -> None:
    data = {"embedded": {"train": 256, "validation": 16, "test": 16, "side": 64}}
    path = prepare_data(workload(Task.DETECTION, data), size=Resize.fixed(64, 64))
    took = []
    for _ in range(10):
        started = time.perf_counter()
        held = open_prepared(path)
        len(held.splits[Split.TRAIN])
        took.append(time.perf_counter() - started)
    assert min(took) < 0.02


def test_images_are_views_of_the_map(tmp_path: Path) -> None:
    split = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8)}}).splits[Split.TRAIN]
    image, again = split.image(1), split.image(1)
    assert image.shape == (32, 48, 3)
    assert np.shares_memory(image, again)
    assert not image.flags.writeable
    assert not image.flags.owndata


@pytest.mark.parametrize("task", list(Task))
def test_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    if task is Task.DETECTION:
        data = {"coco": {"train": coco_folder(tmp_path, 9)}}
    else:
        data = {"masks": {"train": mask_folder(tmp_path, 9), "classes": ["a", "b"]}}
    whole = prepared(task, data).splits[Split.TRAIN]
    monkeypatch.setattr(preparing, "CHUNK_BYTES", 2 * 3 * 32 * 48)
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "other"))
    chunked = prepared(task, data).splits[Split.TRAIN]
    order = [5, 0, 2]
    assert chunked.stacked(order) is None
    stacked = whole.stacked(order)
    assert stacked is not None
    assert stacked.shape == (3, 3, 32, 48)
    for place, i in enumerate(order):
        assert (chunked.planes(i) == stacked[place]).all()
        assert (chunked.image(i) == whole.image(i)).all()
        assert (chunked.boxes(i) == whole.boxes(i)).all()
        assert (chunked.areas(i) == whole.areas(i)).all()
        assert chunked.truth(i).name == whole.truth(i).name
        if task is Task.SEGMENTATION:
            assert (chunked.mask(i) == whole.mask(i)).all()


def test_a_split_travels_as_its_path(tmp_path: Path) -> None:
    split = prepared(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8)}}).splits[Split.TRAIN]
    text = pickle.dumps(split)
    assert len(text) < 1000
    assert (pickle.loads(text).image(0) == split.image(0)).all()


def test_an_empty_part(tmp_path: Path) -> None:
    data = {
        "coco": {"train": coco_folder(tmp_path, 8)},
        "splits": {"train": 0.7, "validation": 0.3, "test": 0.0},
    }
    split = prepared(Task.DETECTION, data).splits[Split.TEST]
    assert (len(split), split.names, split.uniform) == (0, [], False)
    assert len(split.trainable[1]) == 0


def test_what_is_damaged_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="prepare again"):
        open_prepared(tmp_path)
    path = prepare_data(workload(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8)}}), size=SMALL)
    meta = (path / "meta.json").read_text()
    (path / "meta.json").write_text(meta.replace('"schema": 2', '"schema": 0'))
    with pytest.raises(DataError, match="version 2, got 0"):
        open_prepared(path)
    (path / "meta.json").write_text(meta)
    file = path / "train.arrow"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match="remove the folder"):
        PreparedSplit(file, Task.DETECTION)
