from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from data_makers import mask_folder, noise, prepared, workload
from PIL import Image

from trainables.data.prepare import fingerprint, prepare_domain
from trainables.data.prepared import open_prepared
from trainables.data.quick_check import quick_look
from trainables.data.resize import Resize
from trainables.errors import DataError
from trainables.specs.data import Split
from trainables.specs.workload import Task

CLASSES = ["background", "cell"]
SIZE = Resize.fixed(40, 40)


def png(image: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def mask_of(i: int) -> np.ndarray[Any, Any]:
    mask = np.zeros((40, 40), np.uint8)
    mask[5 : 10 + i, 8:20] = 1
    return mask


def saved(root: Path, columns: tuple[str, ...] = ("image", "label"), *, scale: int = 1) -> dict[str, Any]:
    """12 rows with an image in the first column and its mask in the second; a `data` section."""
    rows = []
    for i in range(12):
        images = [png(noise(i, 40, 40)), *(png(Image.fromarray(mask_of(i) * scale)) for _ in columns[1:])]
        rows.append(dict(zip(columns, images, strict=True)) | {"scene": i})
    features = {name: datasets.Image() for name in columns} | {"scene": datasets.Value("int64")}
    table = datasets.Dataset.from_list(rows, datasets.Features(features))
    held = {"train": table.select(range(8)), "test": table.select(range(8, 12))}
    datasets.DatasetDict(held).save_to_disk(root / "saved")
    return {"hub": {"path": str(root / "saved"), "test": "test", "classes": CLASSES}}


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        prepared(Task.SEGMENTATION, data)
    return str(error.value)


@pytest.mark.parametrize(
    "columns",
    [
        ("image", "label"),
        ("pixel_values", "mask"),
        ("photo", "image"),
        ("image", "other"),
        ("image", "label", "x"),
    ],
)
def test_columns_are_found_by_feature_and_name(tmp_path: Path, columns: tuple[str, ...]) -> None:
    data = saved(tmp_path, columns)
    if columns[0] == "photo":  # what is called image is taken as the image
        data["hub"] |= {"image": "photo", "mask": "image"}
    held = prepared(Task.SEGMENTATION, data, SIZE)
    assert held.classes == ("background", "cell")
    assert held.meta["counts"] == {"train": 7, "validation": 1, "test": 4}
    test = held.splits[Split.TEST]
    for i in range(len(test)):
        assert (test.mask(i) == mask_of(8 + i)).all()
        assert (test.image(i) == np.asarray(noise(8 + i, 40, 40))).all()


def test_grey_values_and_ignored_ones_are_those_of_mask_folders(tmp_path: Path) -> None:
    data = saved(tmp_path, scale=255)
    data["hub"]["values"] = [0, 255]
    held = prepared(Task.SEGMENTATION, data, SIZE)
    assert (held.splits[Split.TEST].mask(0) == mask_of(8)).all()
    data = saved(tmp_path / "b", scale=3)
    data["hub"]["ignore"] = 3
    with pytest.raises(DataError, match="nothing but background"):
        prepared(Task.SEGMENTATION, data, SIZE)


def test_columns_that_cannot_be_told_apart_are_listed(tmp_path: Path) -> None:
    message = refused(saved(tmp_path / "a", ("image", "label", "mask")))
    assert "has several columns of feature Image, label, mask" in message
    assert "which is the mask: set data.hub.mask" in message
    assert "must have a column with a mask, of feature Image; it has" in refused(
        saved(tmp_path / "b", ("image",))
    )
    message = refused(saved(tmp_path / "c", ("one", "two")))
    assert "several columns of feature Image, one, two" in message
    data = saved(tmp_path / "d")
    data["hub"] |= {"image": "label", "mask": "label"}
    assert "must be two columns" in refused(data)


def test_values_without_a_class_name_the_row_and_the_setting(tmp_path: Path) -> None:
    data = saved(tmp_path, scale=7)
    assert "values without a class: 7; if these are grey values, set data.hub.values: [0, 7]" in refused(data)
    ((key, reason),) = quick_look(workload(Task.SEGMENTATION, data)).faults
    assert key == "data.hub"
    assert reason.startswith("the mask of row 0: values without a class: 7")


def test_a_quick_look_passes_sound_data(tmp_path: Path) -> None:
    look = quick_look(workload(Task.SEGMENTATION, saved(tmp_path)))
    assert look.faults == ()
    assert look.classes == ("background", "cell")


def test_a_mask_of_another_size_is_a_bad_mask(tmp_path: Path) -> None:
    row = {"image": png(noise(0, 40, 40)), "mask": png(Image.fromarray(np.ones((20, 20), np.uint8)))}
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    datasets.Dataset.from_list([row] * 10, features).save_to_disk(tmp_path / "saved")
    data = {"hub": {"path": str(tmp_path / "saved"), "classes": CLASSES}}
    assert "bad_mask: a mask of 20×20 pixels for an image of 40×40" in refused(data)


def test_the_values_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    data = saved(tmp_path)
    names = set()
    for more in (
        {},
        {"values": [1, 0]},
        {"ignore": 3},
        {"classes": ["cell", "background"]},
        {"mask": "label"},
    ):
        names.add(fingerprint(workload(Task.SEGMENTATION, {"hub": data["hub"] | more}), SIZE))
    assert len(names) == 5


def test_a_domain_is_another_part(tmp_path: Path) -> None:
    data = saved(tmp_path)
    del data["hub"]["test"]
    asked = workload(Task.SEGMENTATION, data | {"domains": {"far": {"hub": "test"}}})
    folder = prepare_domain(asked, "far", asked.data.domains["far"], CLASSES, size=SIZE)
    assert (open_prepared(folder).splits[Split.TEST].mask(0) == mask_of(8)).all()


def test_the_maker_draws_what_the_folder_of_masks_has(tmp_path: Path) -> None:
    part = mask_folder(tmp_path, 3)
    assert (np.asarray(Image.open(Path(part["masks"]) / "cell_002.png")) == mask_of(2)).all()
