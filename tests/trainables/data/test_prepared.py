from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_makers import SMALL, box, coco_folder, mask_folder, prepared, workload

from trainables.backbones import EMBEDDED
from trainables.data import stored_rows
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.definitions import BEFORE
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


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    if task is Task.DETECTION:
        data = {"coco": {"train": coco_folder(tmp_path, 9)}}
    else:
        data = {"masks": {"train": mask_folder(tmp_path, 9), "classes": ["a", "b"]}}
    whole = prepared(task, data).splits[Split.TRAIN]
    monkeypatch.setattr(stored_rows, "CHUNK_BYTES", 2 * 3 * 32 * 48)
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
    (path / "meta.json").write_text(meta.replace('"schema": 3', '"schema": 0'))
    with pytest.raises(DataError, match="version 2, 3 or 4, got 0"):
        open_prepared(path)
    (path / "meta.json").write_text(meta)
    file = path / "train.arrow"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match="remove the folder"):
        PreparedSplit(file, Task.DETECTION)


UNEVEN = [4.1, 5.3, 12.7, 10.9]
"""No value that single precision holds."""


def test_boxes_are_stored_as_annotated(tmp_path: Path) -> None:
    entries = [box(i, UNEVEN) for i in range(8)] + [box(i, UNEVEN, area=12.7 * 10.9) for i in range(8)]
    data = {"coco": {"train": coco_folder(tmp_path, 8, annotations=entries)}}
    split = prepared(Task.DETECTION, data).splits[Split.TRAIN]
    assert split.boxes(0).tolist() == [UNEVEN, UNEVEN]
    assert split.areas(0).tolist() == [12.7 * 10.9] * 2


def test_an_experiment_that_began_with_single_precision_keeps_it(tmp_path: Path) -> None:
    """Its data have the format, the values and thus the fingerprint that they had then."""
    entries = [box(i, UNEVEN) for i in range(8)] + [box(i, UNEVEN, area=12.7 * 10.9) for i in range(8)]
    now = workload(Task.DETECTION, {"coco": {"train": coco_folder(tmp_path, 8, annotations=entries)}})
    before = now.model_copy(update={"definitions": BEFORE})
    paths = [prepare_data(asked, size=SMALL) for asked in (now, before)]
    assert paths[0] != paths[1]
    new, old = (open_prepared(path).splits[Split.TRAIN] for path in paths)
    rounded = np.array(UNEVEN, np.float32).astype(np.float64)
    assert open_prepared(paths[1]).meta["schema"] == 2
    assert old._table["boxes"].type.value_type.value_type == pa.float32()
    assert old.boxes(0).tolist() == [rounded.tolist()] * 2
    assert old.areas(0).tolist() == [rounded[2] * rounded[3], 12.7 * 10.9]
    for mine, theirs in zip(new.trainable, old.trainable, strict=True):
        assert mine.tolist() == theirs.tolist()
