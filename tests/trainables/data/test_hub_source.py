from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from data_makers import noise, prepared, workload
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Sequence, Value

from trainables.data.prepare import fingerprint
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task

NAMES = ["cat", "dog", "bird"]
OBJECTS = {
    "bbox_id": Value("int64"),
    "category": ClassLabel(names=NAMES),
    "bbox": Sequence(Value("float64"), length=4),
    "area": Value("float64"),
}


def _features(objects: Any) -> Features:
    sizes = {"image_id": Value("int64"), "width": Value("int32"), "height": Value("int32")}
    return Features({"image": Image(), **sizes, "objects": objects})


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, "PNG")
    return file.getvalue()


def _row(
    i: int, *, boxes: list[list[float]] | None = None, image: Any = None, as_list: bool = False
) -> dict[str, Any]:
    boxes = [[4, 5, 16, 15], [20, 8, 36, 32]] if boxes is None else boxes
    objects: Any = {
        "bbox_id": list(range(len(boxes))),
        "category": [(i + k) % 3 for k in range(len(boxes))],
        "bbox": boxes,
        "area": [float((b[2] - b[0]) * (b[3] - b[1])) for b in boxes],
    }
    if as_list:
        objects = [{k: v[n] for k, v in objects.items()} for n in range(len(boxes))]
    held = {"bytes": _png(i), "path": f"{i}.png"} if image is None else image
    return {"image": held, "image_id": 1000 + i, "width": 60, "height": 40, "objects": objects}


def _table(rows: list[dict[str, Any]], objects: Any = None) -> Dataset:
    return Dataset.from_list(rows, features=_features(Sequence(OBJECTS) if objects is None else objects))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture(params=["parquet", "parquet of lists", "save_to_disk", "save_to_disk of one part"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The data set in each format that a local copy may have; the `hub` section for it."""
    as_list = request.param == "parquet of lists"
    objects = datasets.List(OBJECTS) if as_list else None
    rows = [_row(i, as_list=as_list) for i in range(13)]
    train, validation = _table(rows[:10], objects), _table(rows[10:], objects)
    folder = tmp_path / "copy"
    if request.param == "save_to_disk":
        DatasetDict({"train": train, "val": validation}).save_to_disk(str(folder))
        return {"path": str(folder), "validation": "val"}
    if request.param == "save_to_disk of one part":
        _table(rows).save_to_disk(str(folder))
        return {"path": str(folder), "train": "train[:10]", "validation": "train[10:]"}
    (folder / "data").mkdir(parents=True)
    train.to_parquet(str(folder / "data/train-00000-of-00001.parquet"))
    validation.to_parquet(str(folder / "data/validation-00000-of-00001.parquet"))
    return {"path": str(folder), "validation": "validation"}


def test_a_local_copy(saved: dict[str, Any]) -> None:
    data = {"hub": saved, "splits": {"train": 0.8, "validation": 0.0001, "test": 0.1999}}
    held = prepared(Task.DETECTION, data)
    assert held.classes == tuple(NAMES)
    assert held.meta["counts"] == {"train": 8, "validation": 3, "test": 2}
    assert held.meta["faults"] == []
    split = held.splits[Split.VALIDATION]
    assert split.names == ["1010", "1011", "1012"]
    truth = split.truth(1)
    assert truth.boxes.tolist() == [[4, 5, 12, 10], [20, 8, 16, 24]]
    assert truth.labels.tolist() == [11 % 3, 12 % 3]
    assert truth.areas.tolist() == [120, 384]
    assert (truth.height, truth.width) == (40, 60)


def test_pixels_arrive(saved: dict[str, Any]) -> None:
    split = prepared(Task.DETECTION, {"hub": saved}, Resize.fixed(40, 60)).splits[Split.VALIDATION]
    assert split.image(2).tobytes() == noise(12).tobytes()


def test_faults_are_listed_by_image_id(tmp_path: Path) -> None:
    rows = [_row(i) for i in range(20)]
    rows[2] = _row(2, image={"bytes": b"\xff\xd8 torn", "path": "2.jpg"})
    rows[3]["image"] = None
    rows[4] = _row(4, boxes=[[4, 5, 16, 15], [70, 5, 90, 15]])
    rows[5] = _row(5, boxes=[])
    _table(rows).save_to_disk(str(tmp_path / "copy"))
    data = {"hub": {"path": str(tmp_path / "copy")}, "faults": {"missing_file": "drop"}}
    held = prepared(Task.DETECTION, data)
    seen = {f["name"]: f["fault"] for f in held.meta["faults"]}
    assert seen == {"1002": "unreadable_image", "1003": "missing_file", "1004": "bad_box"}
    assert sum(held.meta["counts"].values()) == 18


def test_names_as_categories(tmp_path: Path) -> None:
    objects = OBJECTS | {"category": Value("string")}
    rows = [_row(i) for i in range(8)]
    for row in rows:
        row["objects"]["category"] = [NAMES[c] for c in row["objects"]["category"]]
    _table(rows, Sequence(objects)).save_to_disk(str(tmp_path / "copy"))
    assert prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "copy")}}).classes == (
        "bird",
        "cat",
        "dog",
    )


def test_another_form(tmp_path: Path) -> None:
    Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "text"))
    with pytest.raises(DataError, match="must have columns image and objects"):
        prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "text")}})
    _table([_row(0)], Sequence(OBJECTS | {"category": Value("int64")})).save_to_disk(str(tmp_path / "ids"))
    with pytest.raises(DataError, match="so that classes have names"):
        prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "ids")}})


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must be loadable"):
        prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "empty")}})
    DatasetDict({"train": _table([_row(0)])}).save_to_disk(str(tmp_path / "copy"))
    with pytest.raises(DataError, match="no part 'valid'; it has train"):
        prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "copy"), "validation": "valid"}})


def test_a_changed_copy_is_another_data_set(saved: dict[str, Any]) -> None:
    asked = workload(Task.DETECTION, {"hub": saved})
    before = fingerprint(asked, Resize.fixed(8, 8))
    assert fingerprint(asked, Resize.fixed(8, 8)) == before
    changed = next(p for p in Path(saved["path"]).rglob("*") if p.is_file())
    changed.write_bytes(changed.read_bytes() + b" ")
    assert fingerprint(asked, Resize.fixed(8, 8)) != before


@pytest.mark.parametrize("kind", ["parquet", "save_to_disk"])
def test_rows_of_a_mended_copy_with_the_old_time_are_read(tmp_path: Path, kind: str) -> None:
    """`datasets` itself would give the old rows from its cache."""
    copy = tmp_path / "copy"

    def boxes_with(box: list[float]) -> list[list[float]]:
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        table = _table([_row(i, boxes=[box]) for i in range(10)])
        if kind == "parquet":
            table.to_parquet(str(copy / "train-00000-of-00001.parquet"))
        else:
            table.save_to_disk(str(copy))
        for path in copy.rglob("*"):
            os.utime(path, ns=(10**18, 10**18))
        train = prepared(Task.DETECTION, {"hub": {"path": str(copy)}}).splits[Split.TRAIN]
        return [[float(v) for v in train.boxes(i)[0]] for i in range(len(train))]

    assert boxes_with([4, 5, 16, 15]) == [[4, 5, 12, 10]] * 6
    assert boxes_with([5, 4, 15, 16]) == [[5, 4, 10, 12]] * 6


def _without_ids(count: int = 10) -> Dataset:
    rows = [{k: v for k, v in _row(i).items() if k != "image_id"} for i in range(count)]
    features = _features(Sequence(OBJECTS))
    features.pop("image_id")
    return Dataset.from_list(rows, features=features)


@pytest.mark.parametrize(
    ("train", "validation"), [("train[:80%]", "train[80%:]"), ("train[:8]", "train[-2:]")]
)
def test_slices_of_one_part_without_ids(tmp_path: Path, train: str, validation: str) -> None:
    (tmp_path / "copy").mkdir()
    _without_ids().to_parquet(str(tmp_path / "copy/train-00000-of-00001.parquet"))
    hub = {"path": str(tmp_path / "copy"), "train": train, "validation": validation}
    held = prepared(Task.DETECTION, {"hub": hub, "splits": {"train": 0.8, "validation": 0.2, "test": 0.0}})
    assert held.meta["counts"] == {"train": 8, "validation": 2, "test": 0}
    with pytest.raises(DataError, match="no image may be in two parts"):
        prepared(Task.DETECTION, {"hub": hub | {"validation": "train[70%:]"}})


def test_saved_slices_without_ids(tmp_path: Path) -> None:
    _without_ids().save_to_disk(str(tmp_path / "copy"))
    hub = {"path": str(tmp_path / "copy"), "train": "train[:8]", "validation": "train[8:]"}
    held = prepared(Task.DETECTION, {"hub": hub, "splits": {"train": 0.8, "validation": 0.2, "test": 0.0}})
    assert held.meta["counts"] == {"train": 8, "validation": 2, "test": 0}
    with pytest.raises(DataError, match=r"7 \(train and validation\)|0 \(train and validation\)"):
        prepared(Task.DETECTION, {"hub": hub | {"validation": "train[7:]"}})


def test_a_class_that_another_part_spells_otherwise_is_refused(tmp_path: Path) -> None:
    other = OBJECTS | {"category": ClassLabel(names=["Cat", "dog", "bird"])}
    parts = {
        "train": _table([_row(i) for i in range(8)]),
        "val": _table([_row(i) for i in range(8, 12)], Sequence(other)),
    }
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"validation: .*'Cat' \(did you mean 'cat'\?\)"):
        prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "saved"), "validation": "val"}})


def test_crowds_and_areas_may_be_text(tmp_path: Path) -> None:
    objects = OBJECTS | {"iscrowd": Value("string"), "area": Value("string")}
    rows = [_row(i) for i in range(8)]
    for row in rows:
        row["objects"] |= {"iscrowd": ["0", "1"], "area": [str(a) for a in row["objects"]["area"]]}
    DatasetDict({"train": _table(rows, Sequence(objects))}).save_to_disk(tmp_path / "saved")
    held = prepared(Task.DETECTION, {"hub": {"path": str(tmp_path / "saved")}})
    split = held.splits[Split.TRAIN]
    assert split.crowds(0).tolist() == [False, True]
    assert split.areas(0).tolist() == [120.0, 384.0]
